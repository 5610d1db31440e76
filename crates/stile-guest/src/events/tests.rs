//! A device in the same process: it writes events, ends waits and wakes, between any two looks of the
//! reader.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;
use stile_wire::sync::{RECORD_BYTES, STATUS_HEADER_BYTES, StatusRecord, record_offset};
use zerocopy::{FromZeros, IntoBytes};

use super::*;

const EDQUOT: u32 = 122;

/// What happens before one of the reader's looks.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Nothing,
    Events(u64),
    /// The deadline of the waits.
    Deadline,
    /// The status blob has come round before it was read.
    RecordsLost,
    /// The next EVENT_WAIT is refused.
    Refusal,
}

/// An EVENT_WAIT that has been submitted.
#[derive(Clone, Copy, Debug)]
struct Wait {
    tag: u32,
    seen: u64,
}

#[derive(Debug, Default)]
struct State {
    words: Vec<u64>,
    /// Events that have happened, and those of them that are in the ring.
    happened: u64,
    written: u64,
    seen: u64,
    waits: Vec<Wait>,
    /// The last EVENT_WAIT's tag, and the records of those that have ended.
    asked: u32,
    records: BTreeMap<u32, Record>,
    lost: bool,
    refuse: bool,
    /// Wake-ups that nobody has taken.
    wake_ups: u32,
}

/// The device, and what happens to it.
struct Device {
    state: RefCell<State>,
    capacity: u64,
    schedule: RefCell<std::vec::IntoIter<Happening>>,
    /// How often it was asked.
    asked: Cell<u32>,
}

impl Device {
    fn new(records_that_fit: u64, schedule: Vec<Happening>) -> Self {
        let bytes = STATUS_HEADER_BYTES + records_that_fit * RECORD_BYTES;
        let mut words = vec![0; (bytes / 8) as usize];
        words[0] = (1 << 32) | u64::from(EVENTS_MAGIC);
        words[1] = (RECORD_BYTES << 32) | records_that_fit;
        Self {
            state: RefCell::new(State {
                words,
                ..State::default()
            }),
            capacity: records_that_fit,
            schedule: RefCell::new(schedule.into_iter()),
            asked: Cell::new(0),
        }
    }

    /// Whatever the schedule has next.
    fn happen(&self) {
        let next = self.schedule.borrow_mut().next();
        let mut state = self.state.borrow_mut();
        match next.unwrap_or(Happening::Nothing) {
            Happening::Nothing => {}
            Happening::Events(count) => {
                state.happened += count;
                self.write(&mut state);
                self.tell(&mut state);
            }
            Happening::Deadline => {
                for wait in std::mem::take(&mut state.waits) {
                    end(&mut state, wait.tag, ETIMEDOUT, RecordFlags::DEADLINE);
                }
            }
            Happening::RecordsLost => state.lost = true,
            Happening::Refusal => state.refuse = true,
        }
    }

    /// Writes what there is room for.
    fn write(&self, state: &mut State) {
        while state.written < state.happened && state.written < state.seen + self.capacity {
            let seq = state.written + 1;
            let mut record = EventRecord::new_zeroed();
            record.seq = seq.into();
            record.event = (seq * 3).into();
            record.value = (seq * 5).into();
            let at = (record_offset(seq, self.capacity).unwrap() / 8) as usize;
            for (word, bytes) in state.words[at..]
                .iter_mut()
                .zip(record.as_bytes().chunks(8))
            {
                *word = u64::from_le_bytes(bytes.try_into().unwrap());
            }
            state.words[2] = seq;
            state.written = seq;
        }
        state.words[3] = state.happened - state.written;
    }

    /// Ends the waits whose event has come.
    fn tell(&self, state: &mut State) {
        let waits = std::mem::take(&mut state.waits);
        for wait in waits {
            if state.written > wait.seen {
                end(state, wait.tag, 0, RecordFlags::empty());
            } else {
                state.waits.push(wait);
            }
        }
    }
}

fn end(state: &mut State, tag: u32, errno: u32, flags: RecordFlags) {
    let mut record = StatusRecord::new_zeroed();
    record.errno = errno.into();
    record.flags = flags.bits().into();
    state.records.insert(tag, Record::from(&record));
    state.wake_ups += 1;
}

impl Words for &Device {
    fn load(&self, offset: u64) -> Result<u64> {
        self.happen();
        Ok(self.state.borrow().words[(offset / 8) as usize])
    }
}

impl Line for &Device {
    fn clear(&mut self) -> Result<()> {
        self.happen();
        self.state.borrow_mut().wake_ups = 0;
        Ok(())
    }

    fn ask(&mut self, seen: u64) -> Result<()> {
        self.happen();
        self.asked.set(self.asked.get() + 1);
        let mut state = self.state.borrow_mut();
        state.asked += 1;
        let tag = state.asked;
        if std::mem::take(&mut state.refuse) {
            end(&mut state, tag, EDQUOT, RecordFlags::empty());
            return Ok(());
        }
        assert!(
            seen <= state.written,
            "more is said to be read than was written"
        );
        state.seen = state.seen.max(seen);
        self.write(&mut state);
        state.waits.push(Wait { tag, seen });
        self.tell(&mut state);
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        self.happen();
        let mut state = self.state.borrow_mut();
        let asked = state.asked;
        if std::mem::take(&mut state.lost) {
            state.records.clear();
            return Ok(Some(Ended::Unknown));
        }
        Ok(state.records.remove(&asked).map(Ended::Record))
    }
}

/// Reads until there is nothing more, and checks that nothing was left out; then that whatever
/// happens next wakes the program.
fn read_all(reader: &mut EventReader, device: &Device, read: &mut u64) {
    loop {
        match reader.next(&device, &mut &*device) {
            Ok(Some(event)) => {
                *read += 1;
                assert_eq!(event.seq, *read);
                assert_eq!((event.number, event.value), (*read * 3, *read * 5));
            }
            Ok(None) => break,
            Err(error) => {
                let errno = EDQUOT;
                let op = OpCode::EventWait;
                assert_eq!(error, Error::Refused { op, errno });
            }
        }
    }
    let state = device.state.borrow();
    let woken = state.wake_ups > 0;
    assert!(
        woken || state.lost || !state.waits.is_empty(),
        "nobody wakes it: {state:?}"
    );
    assert!(
        woken || state.happened == *read,
        "it sleeps before what is there: {state:?}"
    );
}

/// What happens, and how many looks of the reader later than the one before: mostly it has time to
/// read everything.
fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let what = prop_oneof![
        8 => (1_u64..3).prop_map(Happening::Events),
        1 => (3_u64..20).prop_map(Happening::Events),
        4 => Just(Happening::Deadline),
        1 => Just(Happening::RecordsLost),
        1 => Just(Happening::Refusal),
    ];
    let later = prop_oneof![0_usize..6, 0_usize..60];
    proptest::collection::vec((later, what), 0..40).prop_map(|happenings| {
        let mut schedule = Vec::new();
        for (later, what) in happenings {
            schedule.resize(schedule.len() + later, Happening::Nothing);
            schedule.push(what);
        }
        schedule
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_event_is_missed_and_no_sleeper_is_forgotten(
        records_that_fit in 1_u64..6,
        schedule in happenings(),
    ) {
        let device = Device::new(records_that_fit, schedule);
        let size = STATUS_HEADER_BYTES + RECORD_BYTES * records_that_fit;
        let mut reader = EventReader::new(size);
        reader.check_header(&&device).unwrap();
        let mut read = 0;
        read_all(&mut reader, &device, &mut read);
        while device.schedule.borrow().len() > 0 {
            read_all(&mut reader, &device, &mut read);
        }
        // From here on nothing happens but what the reader asks for.
        let most = device.state.borrow().happened + 10;
        for _ in 0..most {
            if device.state.borrow().wake_ups > 0 {
                read_all(&mut reader, &device, &mut read);
            }
        }
        prop_assert_eq!(device.state.borrow().wake_ups, 0, "it is woken for nothing");
        prop_assert_eq!(read, device.state.borrow().happened);
    }
}

#[test]
fn many_events_take_one_question() {
    let device = Device::new(100, Vec::new());
    let mut reader = EventReader::new(STATUS_HEADER_BYTES + 100 * RECORD_BYTES);
    let mut read = 0;
    read_all(&mut reader, &device, &mut read);
    assert_eq!(device.asked.get(), 1);
    *device.schedule.borrow_mut() = vec![Happening::Events(100)].into_iter();
    device.happen();
    read_all(&mut reader, &device, &mut read);
    assert_eq!((read, device.asked.get()), (100, 2));
}

#[test]
fn a_wait_that_the_deadline_ended_is_renewed_at_the_wake_up_and_not_before() {
    let device = Device::new(4, Vec::new());
    let mut reader = EventReader::new(STATUS_HEADER_BYTES + 4 * RECORD_BYTES);
    let mut read = 0;
    read_all(&mut reader, &device, &mut read);
    read_all(&mut reader, &device, &mut read);
    assert_eq!(device.asked.get(), 1);
    *device.schedule.borrow_mut() = vec![Happening::Deadline].into_iter();
    device.happen();
    read_all(&mut reader, &device, &mut read);
    assert_eq!((read, device.asked.get()), (0, 2));
}

#[test]
fn a_refused_wait_is_told_and_not_asked_again_by_itself() {
    let device = Device::new(4, vec![Happening::Nothing; 2]);
    let mut reader = EventReader::new(STATUS_HEADER_BYTES + 4 * RECORD_BYTES);
    device.state.borrow_mut().refuse = true;
    assert_eq!(reader.next(&&device, &mut &device), Ok(None));
    let refused = reader.next(&&device, &mut &device).unwrap_err();
    assert_eq!(refused.errno(), Some(stile_host::Errno::DQUOT));
    assert_eq!(device.asked.get(), 1);
    assert_eq!(reader.next(&&device, &mut &device), Ok(None));
    assert_eq!(device.asked.get(), 2);
}

#[test]
fn events_that_were_overwritten_are_an_error() {
    let device = Device::new(2, Vec::new());
    let mut reader = EventReader::new(STATUS_HEADER_BYTES + 2 * RECORD_BYTES);
    // A device that does not care who has read what.
    device.state.borrow_mut().seen = u64::from(u32::MAX);
    *device.schedule.borrow_mut() = vec![Happening::Events(5)].into_iter();
    device.happen();
    let lost = reader.next(&&device, &mut &device);
    assert_eq!(lost, Err(Error::EventsLost { count: 3 }));
    let next = reader.next(&&device, &mut &device).unwrap();
    assert_eq!(next.map(|event| event.seq), Some(4));
}
