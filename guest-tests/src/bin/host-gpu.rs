//! Plays the GPU beside the daemon: takes buffers from the bridge and puts fences on them, as a
//! guest's case asks for. Its stdin is the listening control socket; each connection is one guest.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

fn main() -> std::io::Result<()> {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    for guest in listener.incoming() {
        // Nothing can be asked for yet: the connection is held until the guest ends it.
        let mut guest = guest?;
        std::io::copy(&mut guest, &mut std::io::sink())?;
    }
    Ok(())
}
