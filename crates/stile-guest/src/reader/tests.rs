//! A device in the same process writes, word by word, between any two loads of the reader.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use stile_wire::sync::{OpCode, STATUS_MAGIC};

use super::*;

const WORDS_OF_A_RECORD: u64 = 8;

/// What the device writes as word `word` of record `seq`; a mixture of two records shows.
fn word_of(seq: u64, word: u64) -> u64 {
    match word {
        0 => seq,
        // cmd, ring_idx, flags, resource_id: no bits that a flag could be missing for.
        3 => (seq << 32) | u64::from(OpCode::Wait.code()),
        _ => seq * 1000 + word,
    }
}

fn assert_whole(record: &Record) {
    let seq = record.seq;
    let tag_and_errno = word_of(seq, 2);
    let got = (u64::from(record.errno) << 32) | u64::from(record.tag);
    assert_eq!(record.cookie, word_of(seq, 1), "{record:?}");
    assert_eq!(got, tag_and_errno, "{record:?}");
    assert_eq!(u64::from(record.resource_id), seq, "{record:?}");
    assert_eq!(record.taken_ns, word_of(seq, 4), "{record:?}");
    assert_eq!(record.done_ns, word_of(seq, 5), "{record:?}");
    assert_eq!(record.signalled_ns, Some(word_of(seq, 6)), "{record:?}");
}

/// A status blob and its writer, who takes as many steps before each load as the schedule says.
struct Device {
    words: RefCell<Vec<u64>>,
    capacity: u64,
    /// Steps done since the blob was named: ten for a record.
    steps: Cell<u64>,
    /// Records that it will write.
    records: u64,
    schedule: RefCell<std::vec::IntoIter<u8>>,
}

impl Device {
    const STEPS_OF_A_RECORD: u64 = WORDS_OF_A_RECORD + 2;

    fn new(size: u64, records: u64, schedule: Vec<u8>) -> Self {
        let capacity = capacity(size);
        let mut words = vec![0; (size / 8) as usize];
        words[0] = (1 << 32) | u64::from(STATUS_MAGIC);
        words[1] = (RECORD_BYTES << 32) | capacity;
        Self {
            words: words.into(),
            capacity,
            steps: Cell::new(0),
            records,
            schedule: RefCell::new(schedule.into_iter()),
        }
    }

    /// `docs/spec/stile-sync.md`: `seq` 0, the fields, `seq`, then `head`.
    fn step(&self) {
        let done = self.steps.get();
        let seq = done / Self::STEPS_OF_A_RECORD + 1;
        if seq > self.records {
            return;
        }
        let at = (record_offset(seq, self.capacity).unwrap() / 8) as usize;
        let mut words = self.words.borrow_mut();
        match done % Self::STEPS_OF_A_RECORD {
            0 => words[at] = 0,
            step @ 1..WORDS_OF_A_RECORD => words[at + step as usize] = word_of(seq, step),
            8 => words[at] = seq,
            _ => words[(HEAD / 8) as usize] = seq,
        }
        self.steps.set(done + 1);
    }

    fn finish(&self) {
        for _ in self.steps.get()..self.records * Self::STEPS_OF_A_RECORD {
            self.step();
        }
    }
}

impl Words for Device {
    fn load(&self, offset: u64) -> Result<u64> {
        for _ in 0..self.schedule.borrow_mut().next().unwrap_or(0) {
            self.step();
        }
        Ok(self.words.borrow()[(offset / 8) as usize])
    }
}

/// Reads one report, and checks it against what came before: no record torn, none twice, none
/// skipped without being counted.
fn read_checked(reader: &mut Reader<StatusRecords>, device: &Device, reached: &mut u64) -> bool {
    match reader.next(device).unwrap() {
        Some(Report::Record(record)) => {
            *reached += 1;
            assert_eq!(record.seq, *reached);
            assert_whole(&record);
            true
        }
        Some(Report::Lost { count }) => {
            assert!(count > 0);
            *reached += count;
            true
        }
        None => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_record_is_torn_and_none_is_lost_in_silence(
        records_that_fit in 1_u64..6,
        records in 0_u64..40,
        schedule in proptest::collection::vec(
            prop_oneof![4 => 0_u8..3, 2 => 0_u8..30, 1 => 30_u8..120],
            0..400,
        ),
    ) {
        let size = STATUS_HEADER_BYTES + RECORD_BYTES * records_that_fit;
        let device = Device::new(size, records, schedule);
        let mut reader = Reader::<StatusRecords>::new(size);
        reader.check_header(&device).unwrap();
        let mut reached = 0;
        while device.schedule.borrow().len() > 0 {
            read_checked(&mut reader, &device, &mut reached);
        }
        device.finish();
        while read_checked(&mut reader, &device, &mut reached) {}
        prop_assert_eq!(reached, records);
    }

    #[test]
    fn a_reader_who_keeps_up_loses_nothing(
        records_that_fit in 2_u64..6,
        // Never more than the blob holds between two reads of everything.
        bursts in proptest::collection::vec(0_u64..2, 0..40),
    ) {
        let size = STATUS_HEADER_BYTES + RECORD_BYTES * records_that_fit;
        let device = Device::new(size, bursts.iter().sum(), Vec::new());
        let mut reader = Reader::<StatusRecords>::new(size);
        let mut written = 0;
        for burst in bursts {
            for _ in 0..burst * Device::STEPS_OF_A_RECORD {
                device.step();
            }
            written += burst;
            for seq in written - burst + 1..=written {
                let report = reader.next(&device).unwrap();
                prop_assert!(matches!(report, Some(Report::Record(r)) if r.seq == seq));
            }
            prop_assert_eq!(reader.next(&device).unwrap(), None);
        }
    }

    #[test]
    fn memory_full_of_anything_neither_panics_nor_holds_the_reader(
        words in proptest::collection::vec(
            prop_oneof![any::<u64>(), 0_u64..20, Just(u64::MAX)], 24..25),
    ) {
        struct Fixed(Vec<u64>);
        impl Words for Fixed {
            fn load(&self, offset: u64) -> Result<u64> {
                Ok(self.0[(offset / 8) as usize])
            }
        }
        let memory = Fixed(words);
        let mut reader = Reader::<StatusRecords>::new(192);
        let _ = reader.check_header(&memory);
        let mut last = reader.next;
        for _ in 0..100 {
            match reader.next(&memory) {
                Ok(Some(_)) => prop_assert!(reader.next > last || last == u64::MAX),
                Ok(None) | Err(_) => return Ok(()),
            }
            last = reader.next;
        }
        prop_assert_eq!(last, u64::MAX, "the reader goes round and round");
    }
}

fn header_only(magic: u32, version: u64, capacity: u64) -> Device {
    let device = Device::new(STATUS_HEADER_BYTES + 2 * RECORD_BYTES, 0, Vec::new());
    let mut words = device.words.borrow_mut();
    words[0] = (version << 32) | u64::from(magic);
    words[1] = (RECORD_BYTES << 32) | capacity;
    drop(words);
    device
}

#[test]
fn a_header_that_is_not_the_devices_is_refused() {
    let reader = Reader::<StatusRecords>::new(STATUS_HEADER_BYTES + 2 * RECORD_BYTES);
    reader
        .check_header(&header_only(STATUS_MAGIC, 1, 2))
        .unwrap();
    for (magic, version, capacity) in [(0, 0, 0), (STATUS_MAGIC, 2, 2), (STATUS_MAGIC, 1, 3)] {
        let device = header_only(magic, version, capacity);
        let error = reader.check_header(&device).unwrap_err();
        assert!(matches!(error, Error::Header { .. }), "{error}");
    }
}

#[test]
fn a_head_that_goes_back_is_an_error() {
    let device = Device::new(STATUS_HEADER_BYTES + 2 * RECORD_BYTES, 2, Vec::new());
    device.finish();
    let mut reader = Reader::<StatusRecords>::new(STATUS_HEADER_BYTES + 2 * RECORD_BYTES);
    while reader.next(&device).unwrap().is_some() {}
    device.words.borrow_mut()[2] = 1;
    assert_eq!(
        reader.next(&device),
        Err(Error::WentBack {
            what: "status blob",
            seen: 2,
            head: 1
        })
    );
}

#[test]
fn a_record_that_is_being_overwritten_is_lost_and_the_reader_goes_on() {
    let size = STATUS_HEADER_BYTES + 2 * RECORD_BYTES;
    let device = Device::new(size, 4, Vec::new());
    let mut reader = Reader::<StatusRecords>::new(size);
    // Two records whole, and of the third, which takes the place of the first, only the beginning.
    for _ in 0..2 * Device::STEPS_OF_A_RECORD + 3 {
        device.step();
    }
    assert_eq!(reader.next(&device), Ok(Some(Report::Lost { count: 1 })));
    let second = reader.next(&device).unwrap();
    assert!(matches!(
        second,
        Some(Report::Record(Record { seq: 2, .. }))
    ));
    assert_eq!(reader.next(&device), Ok(None));
}

/// Real threads, for what a schedule of whole words cannot show: the order of loads and stores.
#[test]
fn a_device_on_another_thread_never_shows_a_torn_record() {
    struct Shared(Arc<[AtomicU64]>);
    impl Words for Shared {
        fn load(&self, offset: u64) -> Result<u64> {
            Ok(self.0[(offset / 8) as usize].load(Ordering::Acquire))
        }
    }
    const RECORDS: u64 = 20_000;
    let size = STATUS_HEADER_BYTES + 3 * RECORD_BYTES;
    let memory: Arc<[AtomicU64]> = (0..size / 8).map(|_| AtomicU64::new(0)).collect();
    let writer = Arc::clone(&memory);
    let device = std::thread::spawn(move || {
        for seq in 1..=RECORDS {
            let at = (record_offset(seq, capacity(size)).unwrap() / 8) as usize;
            writer[at].store(0, Ordering::Relaxed);
            std::sync::atomic::fence(Ordering::Release);
            for word in 1..WORDS_OF_A_RECORD {
                writer[at + word as usize].store(word_of(seq, word), Ordering::Relaxed);
            }
            writer[at].store(seq, Ordering::Release);
            writer[2].store(seq, Ordering::Release);
        }
    });
    let (shared, mut reader, mut reached) = (Shared(memory), Reader::<StatusRecords>::new(size), 0);
    while reached < RECORDS {
        match reader.next(&shared).unwrap() {
            Some(Report::Record(record)) => {
                reached += 1;
                assert_eq!(record.seq, reached);
                assert_whole(&record);
            }
            Some(Report::Lost { count }) => reached += count,
            None => std::thread::yield_now(),
        }
    }
    assert_eq!(reached, RECORDS);
    device.join().unwrap();
}
