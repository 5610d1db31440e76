//! The picture of the timelines: one HTML file, nothing fetched, no script.

use std::fmt::Write;

use super::story::{Crossing, Story, human};

const LEFT: f64 = 250.0;
const WIDTH: f64 = 1120.0;
const LANE: f64 = 26.0;

/// The page.
pub(crate) fn render(story: &Story) -> String {
    let summary = story.summary();
    let verdict = if summary.holds() {
        "The four rules held."
    } else {
        "A rule was broken."
    };
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "<h1>Fences crossing from the host to the guest</h1>\n<p class=lead>Each bar is work on a \
         host dma-buf. Its fence is the host kernel's; the guest waits for it with a fence of its \
         own kernel. <strong class={}>{verdict}</strong></p>\n<div class=tiles>",
        if summary.holds() { "good" } else { "bad" },
    );
    let tiles = [
        (summary.crossed.to_string(), "fences crossed", true),
        (summary.early.to_string(), "early", summary.early == 0),
        (summary.lost.to_string(), "lost", summary.lost == 0),
        (
            summary.out_of_order.to_string(),
            "out of order",
            summary.out_of_order == 0,
        ),
        (
            human(summary.latency_p50_ns),
            "host signal to guest program, median",
            true,
        ),
        (human(summary.latency_max_ns), "the slowest", true),
    ];
    for (value, label, good) in tiles {
        let class = if good { "tile" } else { "tile bad" };
        let _ = write!(
            page,
            "<div class='{class}'><b>{value}</b><span>{label}</span></div>"
        );
    }
    page.push_str("</div>\n");
    page.push_str(LEGEND);
    page.push_str(&picture(story));
    page.push_str(&table(story));
    let _ = write!(
        page,
        "<p class=foot>Host kernel {}, guest kernel {}. All moments are on the host's clock; the \
         guest's clock is known to {}.{}</p></main></html>",
        escape(&story.host_kernel),
        escape(&story.guest_kernel),
        human(story.clock_error_ns),
        if story.emulated { EMULATED } else { "" },
    );
    page
}

/// What the times mean where nothing is real but their order.
const EMULATED: &str = " The lab's machines are emulated: compare times with each other, not with \
                        real hardware.";

/// The scenes, a block each: what happened at which time.
fn picture(story: &Story) -> String {
    let crossings = story.crossings();
    let mut scenes: Vec<(&str, Vec<Crossing<'_>>)> = Vec::new();
    for crossing in crossings {
        match scenes.last_mut() {
            Some((scene, list)) if *scene == crossing.fence.scene => list.push(crossing),
            _ => scenes.push((&crossing.fence.scene, vec![crossing])),
        }
    }
    scenes
        .iter()
        .map(|(scene, list)| block(scene, list))
        .collect()
}

fn block(scene: &str, crossings: &[Crossing<'_>]) -> String {
    let start = crossings.iter().map(begin).min().unwrap_or(0);
    let end = crossings.iter().map(finish).max().unwrap_or(start);
    let span = (end.saturating_sub(start)).max(2_000_000) as f64 * 1.04;
    let x = |ns: u64| LEFT + ns.saturating_sub(start) as f64 / span * (WIDTH - LEFT - 20.0);
    let height = LANE * crossings.len() as f64 + 34.0;
    let mut svg = format!(
        "<section><h2>{}</h2>\n<svg viewBox='0 0 {WIDTH} {height}' role=img aria-label='{}'>\n",
        escape(scene),
        escape(scene),
    );
    let axis = LANE * crossings.len() as f64 + 4.0;
    let step = tick(span);
    let mut at = 0.0;
    while at <= span {
        let place = x(start + at as u64);
        let _ = writeln!(
            svg,
            "<line class=grid x1={place:.1} x2={place:.1} y1=0 y2={axis} /><text class=axis \
             x={place:.1} y={:.1}>{} ms</text>",
            axis + 18.0,
            at / 1e6,
        );
        at += step;
    }
    for (lane, crossing) in crossings.iter().enumerate() {
        svg.push_str(&row(crossing, lane as f64 * LANE, &x));
    }
    svg.push_str("</svg></section>\n");
    svg
}

/// One fence: the host's work, the wait for its predecessors, the way to the guest.
fn row(crossing: &Crossing<'_>, top: f64, x: &dyn Fn(u64) -> f64) -> String {
    let fence = crossing.fence;
    let middle = top + LANE / 2.0;
    let mut svg = format!(
        "<g><title>{}</title><text class=name x=0 y={:.1}>{}</text><text class=ring x={:.1} \
         y={:.1}>ring {}</text>",
        escape(&words(crossing)),
        middle + 4.5,
        escape(&fence.name),
        LEFT - 14.0,
        middle + 4.5,
        fence.ring,
    );
    let mut bar = |class: &str, from: u64, to: u64, thick: f64| {
        let (from, to) = (x(from), x(to.max(from)));
        let _ = write!(
            svg,
            "<rect class={class} x={from:.1} y={:.1} width={:.1} height={thick} rx=3 />",
            middle - thick / 2.0,
            (to - from).max(2.0),
        );
    };
    let own = fence.signalled_ns.unwrap_or(fence.done_ns);
    match (fence.made_ns, fence.signalled_ns, fence.errno) {
        (Some(made), Some(signalled), _) => bar("work", made, signalled, 14.0),
        (Some(made), None, 1..) => bar("dead", made, own, 14.0),
        // Nothing to wait for.
        _ => {}
    }
    if crossing.due_ns > own {
        bar("held", own, crossing.due_ns, 8.0);
    }
    if let Some(seen) = fence.seen_ns {
        bar("way", crossing.due_ns.max(own), seen, 4.0);
        let _ = write!(
            svg,
            "<circle class=seen cx={:.1} cy={middle:.1} r=5 />",
            x(seen)
        );
    }
    let asked = x(fence.taken_ns);
    let _ = write!(
        svg,
        "<path class=asked d='M{asked:.1} {:.1} l5 -8 h-10 z' /></g>",
        middle - 6.0,
    );
    svg
}

fn table(story: &Story) -> String {
    let mut html = String::from(
        "<details><summary>All moments</summary><table><tr><th>fence<th>ring<th>asked after<th>host \
         signalled after<th>guest saw after<th>way to the guest<th>status</tr>\n",
    );
    for crossing in story.crossings() {
        let fence = crossing.fence;
        let start = fence.made_ns.unwrap_or(fence.taken_ns);
        let after = |ns: Option<u64>| ns.map_or("—".into(), |ns| human(ns.saturating_sub(start)));
        let _ = writeln!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&fence.name),
            fence.ring,
            after(Some(fence.taken_ns)),
            after(fence.signalled_ns),
            after(fence.seen_ns),
            crossing.latency_ns().map_or("never".into(), human),
            if fence.errno == 0 {
                "ok".into()
            } else {
                format!("errno {}", fence.errno)
            },
        );
    }
    html.push_str("</table></details>\n");
    html
}

/// A fence's story in a sentence.
fn words(crossing: &Crossing<'_>) -> String {
    let fence = crossing.fence;
    let work = match (fence.made_ns, fence.signalled_ns) {
        (Some(_), None) if fence.errno == 0 => "the host's work is none to wait for".to_owned(),
        (None, _) => "nothing to wait for".to_owned(),
        (Some(made), Some(signalled)) => {
            format!(
                "the host worked for {}",
                human(signalled.saturating_sub(made))
            )
        }
        (Some(_), None) => "the host never signalled; the deadline answered".to_owned(),
    };
    let own = fence.signalled_ns.unwrap_or(fence.done_ns);
    let held = match crossing.due_ns.saturating_sub(own) {
        0 => String::new(),
        ns => format!(", held {} for the fence before it", human(ns)),
    };
    let way = crossing.latency_ns().map_or("never seen".into(), |ns| {
        format!("seen by the guest {} later", human(ns))
    });
    format!("{}: {work}{held}, {way}", fence.name)
}

fn begin(crossing: &Crossing<'_>) -> u64 {
    crossing
        .fence
        .made_ns
        .unwrap_or(u64::MAX)
        .min(crossing.fence.taken_ns)
}

fn finish(crossing: &Crossing<'_>) -> u64 {
    crossing
        .fence
        .seen_ns
        .unwrap_or(0)
        .max(crossing.fence.done_ns)
        .max(crossing.due_ns)
}

/// The distance of the axis' marks for a span, in nanoseconds: 1, 2 or 5 of some power of ten, at
/// most ten of them.
fn tick(span: f64) -> f64 {
    let mut step = 1e5;
    for factor in [2.0, 2.5, 2.0].iter().cycle().take(30) {
        if span / step <= 10.0 {
            break;
        }
        step *= factor;
    }
    step
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('\'', "&#39;")
}

const HEAD: &str = "<!doctype html>\n<html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width'><title>Stile: fences</title>\n<style>
:root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1c1e21;--dim:#6a6f76;--line:#e3e4e6;--card:#fff;
--work:#4c78c9;--held:#e0a030;--way:#2f9e68;--dead:#c9504c}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e8eaed;--dim:#9aa0a8;--line:#2a2d32;
--card:#1d2024;--work:#6c97e6;--held:#e8b04a;--way:#4cc38a;--dead:#e5706c}}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 24px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:16px;margin:0 0 8px}.lead{margin:0 0 18px;color:var(--dim)}.lead strong{color:var(--fg)}
strong.bad,.bad b{color:var(--dead)!important}strong.good{color:var(--way)!important}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin-bottom:18px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px}
.tile b{display:block;font-size:24px;line-height:1.2}.tile span{color:var(--dim);font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 18px;
margin-bottom:14px}svg{width:100%;height:auto;display:block}text{font:13px system-ui,sans-serif;
fill:var(--fg)}.ring{text-anchor:end;fill:var(--dim)}.axis{text-anchor:middle;fill:var(--dim);
font-size:11px}.grid{stroke:var(--line)}.work{fill:var(--work)}.held{fill:var(--held)}
.way{fill:var(--way)}.dead{fill:var(--dead)}.seen{fill:var(--way);stroke:var(--card);stroke-width:2}
.asked{fill:var(--fg)}.legend{display:flex;flex-wrap:wrap;gap:6px 20px;color:var(--dim);
font-size:13px;margin-bottom:14px}.legend i{display:inline-block;width:20px;height:10px;
border-radius:3px;margin-right:6px}.legend .dot{width:10px;border-radius:50%}
table{border-collapse:collapse;width:100%;font-size:13px;margin-top:8px}
td,th{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line)}
summary{cursor:pointer;color:var(--dim)}.foot{color:var(--dim);font-size:13px}
</style><main>\n";

const LEGEND: &str = "<div class=legend>\
<span>▼ the guest asks (EXPORT)</span>\
<span><i style='background:var(--work)'></i>the host's work, up to its signal</span>\
<span><i style='background:var(--held)'></i>held for the fence before it on the ring</span>\
<span><i style='background:var(--dead)'></i>never signalled: the deadline answers</span>\
<span><i class=dot style='background:var(--way)'></i>the guest's program sees its fence</span>\
</div>\n";

#[cfg(test)]
mod tests {
    use super::super::story::tests::{fence, story};
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = render(&story(vec![fence(1, 0, 400, 401)]));
        for word in ["http", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word} is in the page");
        }
    }

    #[test]
    fn the_page_says_when_a_rule_is_broken() {
        let good = render(&story(vec![fence(1, 0, 400, 401)]));
        assert!(good.contains("The four rules held."));
        let early = render(&story(vec![fence(1, 0, 400, 100)]));
        assert!(early.contains("A rule was broken."));
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let mut bad = fence(1, 0, 400, 401);
        bad.name = "<b>'&".into();
        assert!(render(&story(vec![bad])).contains("&lt;b>&#39;&amp;"));
    }
}
