//! The device as a pure state machine: no I/O, no clock, no file descriptors.
