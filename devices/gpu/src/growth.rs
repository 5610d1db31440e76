//! Tables with a row for each of something that there may be many of.

/// Appends a row. Where there is no room, it is made for a few others, a sixteenth of what is there:
/// a row is moved a constant number of times, and hardly any memory lies idle.
pub(crate) fn push<T>(table: &mut Vec<T>, row: T) {
    let count = table.len();
    if count == table.capacity() {
        table.reserve_exact(count.checked_div(16).unwrap_or(0).max(4));
    }
    table.push(row);
}
