//! Responses, byte for byte.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use stile_wire::gpu::{MAX_RESPONSE_BYTES, Response, ResponseError, Timeline, types};
use stile_wire::sync::Capset;
use zerocopy::{FromBytes, FromZeros};

fn encode(response: Response, fence: Option<(Timeline, u64)>) -> Vec<u8> {
    // What lay there before must not show.
    let mut out = [0xaa; MAX_RESPONSE_BYTES];
    let bytes = response.encode(7, fence, &mut out);
    assert!(out[bytes..].iter().all(|byte| *byte == 0xaa));
    out[..bytes].to_vec()
}

#[test]
fn a_response_without_a_fence_has_no_flag_and_no_id() {
    let mut expected = types::RESP_OK_NODATA.to_le_bytes().to_vec();
    expected.extend([0; 12]);
    expected.extend(7_u32.to_le_bytes());
    expected.extend([0; 4]);
    assert_eq!(encode(Response::Ok, None), expected);
}

#[test]
fn a_fence_of_the_global_timeline_has_no_ring() {
    let bytes = encode(
        Response::Ok,
        Some((Timeline::Global, 0x0102_0304_0506_0708)),
    );
    assert_eq!(bytes[4..8], [1, 0, 0, 0]);
    assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[16..20], [7, 0, 0, 0]);
    assert_eq!(bytes[20..24], [0; 4]);
}

#[test]
fn a_fence_of_a_ring_names_the_ring_and_its_context() {
    let timeline = Timeline::Ring {
        ctx_id: 9,
        ring_idx: 63,
    };
    let bytes = encode(Response::Err(ResponseError::Unspec), Some((timeline, 5)));
    assert_eq!(bytes[..4], types::RESP_ERR_UNSPEC.to_le_bytes());
    assert_eq!(bytes[4..8], [3, 0, 0, 0]);
    assert_eq!(bytes[8..16], [5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..20], [9, 0, 0, 0]);
    assert_eq!(bytes[20..24], [63, 0, 0, 0]);
}

#[test]
fn every_error_has_its_type_and_no_body() {
    for (error, kind) in [
        (ResponseError::Unspec, 0x1200_u32),
        (ResponseError::OutOfMemory, 0x1201),
        (ResponseError::InvalidScanoutId, 0x1202),
        (ResponseError::InvalidResourceId, 0x1203),
        (ResponseError::InvalidContextId, 0x1204),
        (ResponseError::InvalidParameter, 0x1205),
    ] {
        let bytes = encode(Response::Err(error), None);
        assert_eq!(
            (bytes.len(), &bytes[..4]),
            (24, kind.to_le_bytes().as_slice())
        );
    }
}

#[test]
fn bodies_follow_the_header() {
    let bytes = encode(Response::NoDisplays, None);
    assert_eq!(bytes[..4], types::RESP_OK_DISPLAY_INFO.to_le_bytes());
    assert_eq!(bytes.len(), 24 + 16 * 24);
    assert!(bytes[24..].iter().all(|byte| *byte == 0));

    let info = Response::CapsetInfo {
        id: 30,
        max_version: 1,
        max_size: 64,
    };
    let bytes = encode(info, None);
    assert_eq!(bytes[..4], types::RESP_OK_CAPSET_INFO.to_le_bytes());
    assert_eq!(
        bytes[24..],
        [30, 0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]
    );

    let mut capset = Capset::new_zeroed();
    capset.version = 1.into();
    capset.max_host_bytes = 77.into();
    let bytes = encode(Response::Capset(Box::new(capset)), None);
    assert_eq!(bytes[..4], types::RESP_OK_CAPSET.to_le_bytes());
    assert_eq!(Capset::read_from_bytes(&bytes[24..]), Ok(capset));

    let uuid = [3; 16];
    let bytes = encode(Response::Uuid(uuid), None);
    assert_eq!(bytes[..4], types::RESP_OK_RESOURCE_UUID.to_le_bytes());
    assert_eq!(bytes[24..], uuid);

    let bytes = encode(Response::MapInfo(1), None);
    assert_eq!(bytes[..4], types::RESP_OK_MAP_INFO.to_le_bytes());
    assert_eq!(bytes[24..], [1, 0, 0, 0, 0, 0, 0, 0]);
}
