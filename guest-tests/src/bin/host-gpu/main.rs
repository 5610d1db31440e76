//! Plays the GPU beside the daemon: takes buffers from the bridge, puts vgem's fences on them and
//! signals them, as a guest's case asks for. Its stdin is the listening control socket. Each
//! connection is served by itself, and all see the same buffers and fences: a guest, and the runner
//! that knows when the guest has to go.

mod consumer;
mod descriptors;
mod fences;
mod memory;
mod moving;
mod player;
mod timelines;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use guest_tests::control::Control;
use guest_tests::gpu::Call;

use player::Player;

#[derive(Parser)]
#[command(about = "Plays the GPU beside the daemon; its stdin is a listening socket")]
struct Cli {
    /// The socket on which the daemon gives dma-bufs away
    #[arg(long, value_name = "PATH")]
    bridge: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    let player = Arc::new(Player::new(&cli.bridge)?);
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    for connection in listener.incoming() {
        let connection = connection?;
        let player = Arc::clone(&player);
        std::thread::spawn(move || {
            if let Err(error) = serve(&player, connection) {
                eprintln!("A connection has ended: {error}");
            }
        });
    }
    Ok(())
}

fn serve(player: &Player, connection: UnixStream) -> Result<(), Box<dyn std::error::Error>> {
    let mut control = Control::new(connection.try_clone()?, connection);
    while let Some(call) = control.receive::<Call>()? {
        let answer = player.play(&call).map_err(|error| error.to_string());
        control.send(&answer)?;
        // What went wrong is a case's matter; here it is for a person who reads the log. Written
        // after the answer and at once: the log lies far away, and the case does not wait for it.
        let line = match &answer {
            Ok(answer) => format!("{call:?} -> {answer}\n"),
            Err(error) => format!("{call:?} -> refused: {error}\n"),
        };
        std::io::stderr().write_all(line.as_bytes())?;
    }
    Ok(())
}
