//! What became of operations, for those who have not asked yet.

use std::collections::BTreeMap;

use crate::events::Ended;
use crate::reader::{Record, Report};

/// Results that are kept for those who have not asked yet.
const MOST_KEPT: usize = 4096;

/// Records of operations that somebody may ask for.
#[derive(Debug, Default)]
pub(super) struct Results {
    last_tag: u32,
    /// By tag; `None` until the record has come.
    kept: BTreeMap<u32, Option<Record>>,
    /// The EVENT_WAIT that is under way. It may take long, so that it has a place of its own.
    event_wait: Option<EventWait>,
    lost: u64,
}

#[derive(Debug)]
struct EventWait {
    tag: u32,
    record: Option<Record>,
    /// Records that had been lost when it was submitted.
    lost: u64,
}

impl Results {
    /// A tag whose record is kept until somebody takes it.
    pub(super) fn tag(&mut self) -> u32 {
        loop {
            let tag = self.next_tag();
            if self.expect(tag) {
                return tag;
            }
        }
    }

    /// A tag for the one EVENT_WAIT that is under way.
    pub(super) fn event_wait_tag(&mut self) -> u32 {
        let mut tag = self.next_tag();
        while self.kept.contains_key(&tag) {
            tag = self.next_tag();
        }
        self.event_wait = Some(EventWait {
            tag,
            record: None,
            lost: self.lost,
        });
        tag
    }

    fn next_tag(&mut self) -> u32 {
        // 0 is STATUS's.
        self.last_tag = self.last_tag.checked_add(1).unwrap_or(1);
        self.last_tag
    }

    /// Keeps the record of this tag when it comes. False if the tag is in use.
    fn expect(&mut self, tag: u32) -> bool {
        let event_wait = self.event_wait.as_ref();
        if self.kept.contains_key(&tag) || event_wait.is_some_and(|wait| wait.tag == tag) {
            return false;
        }
        // Tags go up, so the first is the one that nobody has asked for the longest.
        if self.kept.len() >= MOST_KEPT {
            self.kept.pop_first();
        }
        self.kept.insert(tag, None);
        true
    }

    /// What the status blob had next.
    pub(super) fn put(&mut self, report: Report) {
        match report {
            Report::Record(record) => {
                if let Some(place) = self.kept.get_mut(&record.tag) {
                    *place = Some(record);
                } else if let Some(wait) = &mut self.event_wait
                    && wait.tag == record.tag
                {
                    wait.record = Some(record);
                }
            }
            Report::Lost { count } => self.lost = self.lost.saturating_add(count),
        }
    }

    /// The record of this tag, once.
    pub(super) fn take(&mut self, tag: u32) -> Option<Record> {
        let record = self.kept.get(&tag).copied().flatten();
        if record.is_some() {
            self.kept.remove(&tag);
        }
        record
    }

    /// How the EVENT_WAIT ended, once.
    pub(super) fn take_event_wait(&mut self) -> Option<Ended> {
        let wait = self.event_wait.as_ref()?;
        let ended = match wait.record {
            Some(record) => Ended::Record(record),
            None if self.lost != wait.lost => Ended::Unknown,
            None => return None,
        };
        self.event_wait = None;
        Some(ended)
    }

    /// Nobody will ask for this tag.
    pub(super) fn forget(&mut self, tag: u32) {
        self.kept.remove(&tag);
    }

    /// Records that were overwritten before they were read.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use stile_wire::sync::StatusRecord;
    use zerocopy::FromZeros;

    use super::*;

    fn report(seq: u64, tag: u32) -> Report {
        let mut record = StatusRecord::new_zeroed();
        (record.seq, record.tag) = (seq.into(), tag.into());
        Report::Record(Record::from(&record))
    }

    #[test]
    fn a_result_is_there_once_and_only_for_those_who_expect_it() {
        let mut results = Results::default();
        assert!(results.expect(7));
        assert!(!results.expect(7), "the tag is in use");
        results.put(report(1, 6));
        assert_eq!(results.take(6), None);
        assert_eq!(results.take(7), None, "it has not come yet");
        results.put(report(2, 7));
        assert_eq!(results.take(7).map(|record| record.seq), Some(2));
        assert_eq!(results.take(7), None);
        assert!(results.expect(7), "the tag is free again");
    }

    #[test]
    fn losses_add_up() {
        let mut results = Results::default();
        results.put(Report::Lost { count: 2 });
        results.put(Report::Lost { count: u64::MAX });
        assert_eq!(results.lost(), u64::MAX);
    }

    #[test]
    fn results_that_nobody_asks_for_do_not_pile_up() {
        let mut results = Results::default();
        let last = u32::try_from(MOST_KEPT).unwrap().saturating_mul(2);
        for tag in 1..=last {
            assert!(results.expect(tag));
            results.put(report(tag.into(), tag));
        }
        assert_eq!(results.kept.len(), MOST_KEPT);
        assert_eq!(results.take(1), None);
        assert!(results.take(last).is_some());
    }

    #[test]
    fn an_event_wait_is_remembered_however_many_operations_come_after_it() {
        let mut results = Results::default();
        let tag = results.event_wait_tag();
        for _ in 0..=MOST_KEPT {
            assert_ne!(results.tag(), tag);
        }
        assert_eq!(results.take_event_wait(), None);
        results.put(report(9, tag));
        let ended = results.take_event_wait();
        assert!(
            matches!(ended, Some(Ended::Record(record)) if record.seq == 9),
            "{ended:?}"
        );
        assert_eq!(results.take_event_wait(), None);
    }

    #[test]
    fn an_earlier_event_wait_does_not_end_the_later_one() {
        let mut results = Results::default();
        let earlier = results.event_wait_tag();
        results.put(Report::Lost { count: 1 });
        assert_eq!(results.take_event_wait(), Some(Ended::Unknown));
        let later = results.event_wait_tag();
        results.put(report(1, earlier));
        assert_eq!(results.take_event_wait(), None);
        results.put(report(2, later));
        assert!(results.take_event_wait().is_some());
    }

    #[test]
    fn tags_begin_anew_and_leave_out_those_in_use_and_the_status_blobs() {
        let mut results = Results::default();
        assert_eq!(results.tag(), 1);
        results.last_tag = u32::MAX;
        assert_eq!(results.tag(), 2, "0 is STATUS's, 1 is in use");
    }
}
