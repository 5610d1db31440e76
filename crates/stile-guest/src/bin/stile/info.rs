//! `stile info`: what the device, its driver and its capset can do.

use stile_guest::{CAPSET_ID, Capset, OpCode, Params, RenderNode};
use zerocopy::little_endian::U32;

use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, Value};

/// `stile info`. Fails with the reason after saying what there is, if it is not a Stile device.
pub(crate) fn info(args: &Args) -> Result<(), Failure> {
    let node = crate::node(args)?;
    let params = node.params()?;
    let capset = node.capset();
    let out = Output { json: args.json };
    if args.json {
        out.line(&json(&node, &params, capset.as_ref().ok()).json())?;
    } else {
        for line in text(&node, &params, capset.as_ref().ok()) {
            out.line(&line)?;
        }
    }
    capset.map(drop).map_err(Failure::from)
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn capset_ids(params: &Params) -> Vec<u32> {
    (0..32).filter(|id| params.has_capset(*id)).collect()
}

fn operations(capset: &Capset) -> Vec<String> {
    let mask = capset.operations.get();
    let known = OpCode::ALL.into_iter().filter(|op| op.bit() & mask != 0);
    let mut names: Vec<_> = known.map(|op| op.name().to_owned()).collect();
    let unknown = mask & !OpCode::mask();
    if unknown != 0 {
        names.push(format!("and others ({unknown:#x})"));
    }
    names
}

/// The kernel's parameters, by what they mean.
fn abilities(params: &Params) -> [(&'static str, &'static str, bool); 6] {
    [
        ("three_d", "submissions and host blobs", params.three_d),
        ("resource_blob", "blob resources", params.resource_blob),
        (
            "host_visible",
            "host blobs can be mapped",
            params.host_visible,
        ),
        (
            "cross_device",
            "blobs for other devices",
            params.cross_device,
        ),
        (
            "context_init",
            "contexts with a capset",
            params.context_init,
        ),
        ("debug_name", "names of contexts", params.debug_name),
    ]
}

/// The capset's numbers, with their units.
fn limits(capset: &Capset) -> Vec<(&'static str, &'static str, u64, &'static str)> {
    let limit = |name, meaning, number: U32, unit| (name, meaning, number.get().into(), unit);
    vec![
        limit(
            "max_submit_bytes",
            "longest submission",
            capset.max_submit_bytes,
            " bytes",
        ),
        limit(
            "max_operations",
            "operations in one",
            capset.max_operations,
            "",
        ),
        limit(
            "max_pending_fences",
            "pending fences",
            capset.max_pending_fences,
            "",
        ),
        limit(
            "max_cookies",
            "cookies of a context",
            capset.max_cookies,
            "",
        ),
        limit("max_rings", "rings of a context", capset.max_rings, ""),
        limit(
            "max_timelines",
            "timelines of a context",
            capset.max_timelines,
            "",
        ),
        limit("max_events", "events waited for", capset.max_events, ""),
        limit(
            "max_cpu_accesses",
            "accesses by the CPU",
            capset.max_cpu_accesses,
            "",
        ),
        limit(
            "fence_deadline_ms",
            "deadline of a fence",
            capset.fence_deadline_ms,
            " ms",
        ),
        limit(
            "max_timeout_ms",
            "longest time-out",
            capset.max_timeout_ms,
            " ms",
        ),
        limit(
            "status_record_bytes",
            "a status record",
            capset.status_record_bytes,
            " bytes",
        ),
        (
            "max_host_bytes",
            "memory of the host",
            capset.max_host_bytes.get(),
            " bytes",
        ),
    ]
}

fn json(node: &RenderNode, params: &Params, capset: Option<&Capset>) -> Value {
    let ids = capset_ids(params).into_iter().map(Value::from).collect();
    let abilities = abilities(params).map(|(name, _, truth)| (name, truth.into()));
    let capset = capset.map_or(Value::Nothing, |capset| {
        let names = operations(capset).into_iter().map(Value::from).collect();
        let mut fields = vec![
            ("id", CAPSET_ID.into()),
            ("version", capset.version.get().into()),
            ("operations", Value::List(names)),
            ("operations_mask", capset.operations.get().into()),
        ];
        fields.extend(
            limits(capset)
                .into_iter()
                .map(|(name, _, number, _)| (name, number.into())),
        );
        Value::Object(fields)
    });
    Value::Object(vec![
        ("device", node.path().display().to_string().into()),
        ("kernel", kernel().into()),
        ("params", Value::Object(abilities.into())),
        ("capset_ids", Value::List(ids)),
        ("stile_sync", capset),
    ])
}

fn text(node: &RenderNode, params: &Params, capset: Option<&Capset>) -> Vec<String> {
    let row = |name: &str, value: String| format!("{name:<28}{value}");
    let mut lines = vec![
        row("device", node.path().display().to_string()),
        row("kernel", kernel()),
    ];
    for (_, meaning, truth) in abilities(params) {
        lines.push(row(meaning, if truth { "yes" } else { "no" }.into()));
    }
    let ids: Vec<_> = capset_ids(params).iter().map(u32::to_string).collect();
    lines.push(row("capsets", ids.join(" ")));
    if let Some(capset) = capset {
        let version = capset.version.get();
        lines.push(row(
            "stile-sync",
            format!("capset {CAPSET_ID}, version {version}"),
        ));
        lines.push(row("  operations", operations(capset).join(" ")));
        for (_, meaning, number, unit) in limits(capset) {
            lines.push(row(&format!("  {meaning}"), format!("{number}{unit}")));
        }
    }
    lines
}
