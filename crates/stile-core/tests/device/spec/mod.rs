//! The errors of `docs/spec/stile-sync.md` and `bridge.md`: their tables are run.

mod commands;
mod operations;
mod requests;
mod seen;
mod submissions;

use stile_core::errno;

use crate::spec_table::{number, table};

#[test]
fn every_errno_of_the_specification_has_its_number() {
    let ours = [
        ("EPERM", errno::EPERM),
        ("ENOENT", errno::ENOENT),
        ("ENXIO", errno::ENXIO),
        ("E2BIG", errno::E2BIG),
        ("EAGAIN", errno::EAGAIN),
        ("ENOMEM", errno::ENOMEM),
        ("EFAULT", errno::EFAULT),
        ("EBUSY", errno::EBUSY),
        ("EEXIST", errno::EEXIST),
        ("EINVAL", errno::EINVAL),
        ("EMFILE", errno::EMFILE),
        ("ENOSYS", errno::ENOSYS),
        ("EBADMSG", errno::EBADMSG),
        ("EOPNOTSUPP", errno::EOPNOTSUPP),
        ("ETIMEDOUT", errno::ETIMEDOUT),
        ("EDQUOT", errno::EDQUOT),
        ("ECANCELED", errno::ECANCELED),
    ];
    let rows = table("errno").rows;
    let specified: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str(), number(&row[1])))
        .collect();
    let ours: Vec<_> = ours
        .map(|(name, errno)| (name, u64::from(errno.0)))
        .to_vec();
    assert_eq!(specified, ours);
}
