//! Buffers from every source, by name.

use stile_host::{AllocatorChoice, DmaHeap, Error, Udmabuf, VgemNode};

const PAGE: u64 = 4096;

#[test]
fn buffers_are_zero_filled_and_whole_pages_long() {
    let node = VgemNode::find().unwrap().path().display().to_string();
    for name in [
        "udmabuf",
        "heap",
        "heap:system",
        "vgem",
        &format!("vgem:{node}"),
    ] {
        let allocator = name.parse::<AllocatorChoice>().unwrap().open().unwrap();
        for (asked, size) in [
            (1, PAGE),
            (PAGE, PAGE),
            (PAGE + 1, 2 * PAGE),
            (5 << 20, 5 << 20),
        ] {
            let buffer = allocator.allocate(asked).unwrap();
            assert_eq!(buffer.size(), size, "{asked} bytes of {name}");
            let mut bytes = vec![1; usize::try_from(size).unwrap()];
            buffer.map(0..size).unwrap().read(0, &mut bytes).unwrap();
            assert!(
                bytes.iter().all(|byte| *byte == 0),
                "{name} gives old bytes"
            );
        }
        assert_eq!(allocator.allocate(0).unwrap_err(), Error::Empty);
    }
}

#[test]
fn a_source_by_itself_gives_whole_pages_as_well() {
    let (node, heap) = (
        VgemNode::find().unwrap(),
        DmaHeap::open(DmaHeap::SYSTEM).unwrap(),
    );
    for (asked, size) in [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE)] {
        assert_eq!(node.allocate(asked).unwrap().size(), size);
        assert_eq!(heap.alloc(asked).unwrap().size(), size);
    }
    assert_eq!(node.allocate(0).unwrap_err(), Error::Empty);
    assert_eq!(heap.alloc(0).unwrap_err(), Error::Empty);
}

#[test]
fn a_buffer_outlives_its_allocator() {
    for name in ["udmabuf", "heap", "vgem"] {
        let buffer = {
            let choice: AllocatorChoice = name.parse().unwrap();
            choice.open().unwrap().allocate(PAGE).unwrap()
        };
        buffer
            .map(0..PAGE)
            .unwrap()
            .write(0, b"still there")
            .unwrap();
    }
}

#[test]
fn what_is_too_large_is_said_so() {
    // 64 MiB, or as good as none on newer kernels.
    let udmabuf = Udmabuf::open().unwrap().limits().bytes;
    for (name, len) in [
        ("udmabuf", udmabuf + 1),
        ("vgem", 1 << 32),
        ("udmabuf", u64::MAX),
    ] {
        let allocator = name.parse::<AllocatorChoice>().unwrap().open().unwrap();
        let error = allocator.allocate(len).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{name}: {error}");
    }
}

#[test]
fn a_source_that_is_not_there_says_what_to_do() {
    let error = DmaHeap::open("no-such-heap").unwrap_err().to_string();
    assert!(error.contains("/dev/dma_heap/no-such-heap"), "{error}");
    let choice: AllocatorChoice = "vgem:card4711".parse().unwrap();
    let error = choice.open().unwrap_err().to_string();
    assert!(error.contains("/dev/dri/card4711"), "{error}");
}
