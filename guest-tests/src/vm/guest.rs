//! A guest under Debian's QEMU, with our device as QEMU's generic vhost-user device.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::Lab;
use super::child::{Child, Stdout, readable};
use super::daemon::Daemon;
use super::end::{self, End};
use super::error::Error;
use super::host_gpu::HostGpu;
use super::lines::{Lines, Next};
use super::loss::Loss;
use super::monitor;
use crate::event::{CONTROL_PORT, RESULTS_PORT};

/// A guest that says nothing for so long is looked at. Cases may take longer.
const DOUBT: Duration = Duration::from_secs(20);
/// Longer than QEMU takes from the end of its guest's results to its own.
const GOES: Duration = Duration::from_secs(120);

/// How a guest is built. The methods change one thing each; [`Guest::start`] boots it.
#[derive(Clone, Debug)]
pub struct Guest {
    lab: Lab,
    memory: u32,
    processors: u32,
    gpu: Option<PathBuf>,
    control: Option<PathBuf>,
    program: Vec<String>,
    arguments: Vec<String>,
    reboots: bool,
}

impl Guest {
    /// A guest with one processor, without our device, that powers off at once.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        Self {
            lab: lab.clone(),
            memory: 512,
            processors: 1,
            gpu: None,
            control: None,
            program: vec!["true".to_owned()],
            arguments: Vec::new(),
            reboots: false,
        }
    }

    /// Its memory, in MiB.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Its processors.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Attaches the daemon's device.
    #[must_use]
    pub fn gpu(mut self, daemon: &Daemon) -> Self {
        self.gpu = Some(daemon.socket.clone());
        self
    }

    /// Gives the guest's programs a channel to the program that plays the GPU.
    #[must_use]
    pub fn control(mut self, host_gpu: &HostGpu) -> Self {
        self.control = Some(host_gpu.control.clone());
        self
    }

    /// What runs in it: a program of the initramfs with its words (no spaces in them: they travel
    /// on the kernel's command line). When it ends, the guest powers off.
    #[must_use]
    pub fn program(mut self, words: &[&str]) -> Self {
        self.program = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Further arguments for QEMU.
    #[must_use]
    pub fn arguments(mut self, words: &[&str]) -> Self {
        self.arguments
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Lets a reboot in the guest be one. Otherwise it ends the VMM, so that a guest that panics
    /// is not seen as one that starts again.
    #[must_use]
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Boots it.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(&self) -> Result<RunningGuest, Error> {
        let console = self.lab.logs.join("console.log");
        let expected = end::Expected::at(self.lab.sockets.join("end.sock"))?;
        let mut qemu = self.qemu();
        qemu.arg("-chardev")
            .arg(with_path("socket,id=end,path=", expected.socket()));
        qemu.args(["-object", "monitor-qmp,id=attendant,chardev=end"]);
        qemu.args(["-action", "shutdown=pause"]);
        qemu.arg("-chardev").arg(with_path(
            "socket,id=monitor,server=on,wait=off,path=",
            &self.monitor(),
        ));
        qemu.args(["-object", "monitor-hmp,id=questions,chardev=monitor"]);
        // The results port's far end is QEMU's own stdin and stdout: its end is the guest's end.
        qemu.args(["-chardev", "stdio,id=results,signal=off"]);
        qemu.args(["-device", &port("results", RESULTS_PORT)]);
        qemu.arg("-chardev")
            .arg(with_path("file,id=console,append=on,path=", &console));
        qemu.args(["-serial", "chardev:console"]);
        qemu.arg("-append").arg(self.command_line(false));
        qemu.stdin(Stdio::piped());
        let mut child = Child::start("qemu", qemu, &self.lab.logs, Stdout::Piped)?;
        let input = child.take_stdin();
        let (Some(input), Some(output)) = (input, child.take_stdout()) else {
            return Err(child.ended_before("its pipes were there"));
        };
        let end = expected.watch(&mut child)?;
        Ok(RunningGuest {
            child,
            console,
            monitor: self.monitor(),
            memory_bytes: u64::from(self.memory).saturating_mul(1 << 20),
            mark: self.lab.lost(),
            emulated: self.lab.emulated,
            end,
            input,
            lines: Lines::new(output),
        })
    }

    /// Boots it with this terminal as its console, and waits for its end.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn run_interactive(&self) -> Result<ExitStatus, Error> {
        let console = self.lab.logs.join("console.log");
        let mut qemu = self.qemu();
        qemu.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"]);
        qemu.args(["-device", "virtconsole,chardev=terminal"]);
        qemu.arg("-chardev")
            .arg(with_path("file,id=console,append=on,path=", &console));
        qemu.args(["-serial", "chardev:console"]);
        qemu.arg("-append").arg(self.command_line(true));
        let mut child = Child::start("qemu", qemu, &self.lab.logs, Stdout::Inherited)?;
        // Nothing is taken for a hang while a person is at the keyboard.
        child.wait(Duration::from_secs(i32::MAX.unsigned_abs().into()))
    }

    fn qemu(&self) -> Command {
        let mut qemu = self.lab.qemu();
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-vga",
            "none",
        ]);
        qemu.args(["-run-with", "exit-with-parent=on"]);
        if !self.reboots {
            qemu.arg("-no-reboot");
        }
        // Shared memory, which the daemon maps; sealed, so that it can become udmabufs.
        let memory = format!(
            "memory-backend-memfd,id=memory,size={}M,share=on",
            self.memory
        );
        qemu.args(["-object", &memory, "-M", "q35,memory-backend=memory"]);
        qemu.args([
            "-m",
            &self.memory.to_string(),
            "-smp",
            &self.processors.to_string(),
        ]);
        qemu.args(["-accel", "kvm", "-cpu", "host"]);
        qemu.arg("-kernel")
            .arg(&self.lab.kernel)
            .arg("-initrd")
            .arg(&self.lab.initramfs);
        qemu.args(["-device", "virtio-serial-pci"]);
        if let Some(socket) = &self.control {
            qemu.arg("-chardev")
                .arg(with_path("socket,id=control,path=", socket));
            qemu.args(["-device", &port("control", CONTROL_PORT)]);
        }
        if let Some(socket) = &self.gpu {
            qemu.arg("-chardev")
                .arg(with_path("socket,id=gpu,path=", socket));
            // 16 is virtio-gpu's device id; its configuration space has 24 bytes.
            qemu.args([
                "-device",
                "vhost-user-test-device-pci,chardev=gpu,virtio-id=16,num_vqs=2,vq_size=256,\
                 config_size=24",
            ]);
        }
        qemu.args(&self.arguments);
        qemu
    }

    /// QEMU's monitor, for whoever looks into a hang.
    fn monitor(&self) -> PathBuf {
        self.lab.sockets.join("monitor.sock")
    }

    fn command_line(&self, interactive: bool) -> String {
        let mut line = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable --".to_owned();
        if interactive {
            line.push_str(" --interactive");
        }
        for word in &self.program {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

/// A virtio port over the chardev of this name.
fn port(chardev: &str, name: &str) -> String {
    format!("virtserialport,chardev={chardev},name={name}")
}

/// QEMU's options are separated by commas; a comma in a value is written twice.
fn with_path(head: &str, path: &Path) -> String {
    format!("{head}{}", path.display().to_string().replace(',', ",,"))
}

/// A guest that has been started. Dropping it ends its VMM.
#[derive(Debug)]
pub struct RunningGuest {
    /// The VMM's process.
    pub child: Child,
    /// Where the guest's console goes.
    pub console: PathBuf,
    monitor: PathBuf,
    memory_bytes: u64,
    mark: PathBuf,
    emulated: bool,
    end: end::Watch,
    input: ChildStdin,
    lines: Lines<ChildStdout>,
}

impl RunningGuest {
    /// Sends a line to the guest's results port.
    ///
    /// # Errors
    /// When the VMM has ended.
    pub fn send(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.input, "{line}")
            .and_then(|()| self.input.flush())
            .map_err(|source| Error::system("Writing to the guest's results port", source))
    }

    /// Waits for the next line from the guest's results port; `None` once the guest has powered off.
    ///
    /// # Errors
    /// [`Error::Hung`] when nothing comes within `bound`, [`Error::GuestEnded`] and [`Error::Ended`]
    /// when the guest or QEMU ended otherwise, [`Error::Lost`] where the emulator is why.
    pub fn next_line(&mut self, bound: Duration) -> Result<Option<String>, Error> {
        let first = bound.min(DOUBT);
        let mut next = self.lines.next(first)?;
        if next == Next::Nothing {
            if let Some(loss) = self.loss() {
                return Err(Error::Lost(loss));
            }
            next = self.lines.next(bound.saturating_sub(first))?;
            if next == Next::Nothing
                && let Some(loss) = self.loss()
            {
                return Err(Error::Lost(loss));
            }
        }
        match next {
            Next::Line(line) => Ok(Some(line)),
            Next::End => self.ended().map(|()| None),
            Next::Nothing => Err(self.hung("the guest's next word", bound)),
        }
    }

    /// How it has ended. Fails unless it has powered off.
    fn ended(&mut self) -> Result<(), Error> {
        let status = self.child.wait(GOES)?;
        if let Some(loss) = self.loss() {
            return Err(Error::Lost(loss));
        }
        match self.end.end() {
            Some(end) if end.reason == end::POWERED_OFF && status.success() => Ok(()),
            Some(end) if end.reason == end::POWERED_OFF => {
                Err(self.child.ended_before("it had let its guest go"))
            }
            Some(End { reason, registers }) => Err(Error::GuestEnded {
                reason: reason.clone(),
                registers: registers.clone(),
            }),
            None => Err(self.child.ended_before("its guest ended")),
        }
    }

    /// Whether the emulated host has lost it. Whoever looks at its lab afterwards finds that out.
    fn loss(&mut self) -> Option<Loss> {
        if !self.emulated {
            return None;
        }
        let gone = readable(&[self.child.ended()], Some(Duration::ZERO)).unwrap_or(false);
        let (loss, registers) = if gone {
            let end = self.end.end().filter(|end| end.reason == end::RESET)?;
            let loss = Loss::seen(&end.registers, self.memory_bytes)?;
            (loss, end.registers.clone())
        } else {
            let registers = monitor::registers(&self.monitor);
            // A processor that runs and is not in protected mode yet is at the machine's firmware.
            let loss = Loss::seen(&registers, self.memory_bytes);
            (loss.filter(|loss| *loss == Loss::PageTables)?, registers)
        };
        let said = Error::Lost(loss).to_string();
        let log = self.console.with_file_name("lost.log");
        for (path, text) in [(&self.mark, &said), (&log, &registers)] {
            if let Err(error) = std::fs::write(path, text) {
                eprintln!("{} could not be written: {error}", path.display());
            }
        }
        Some(loss)
    }

    fn hung(&self, before: &str, bound: Duration) -> Error {
        let mut error = self.child.hung(before, bound);
        if let Error::Hung { said, .. } = &mut error {
            said.push_str(&monitor::ask(&self.monitor));
        }
        error
    }

    /// Waits until the VMM has ended by itself, whatever the guest still says.
    ///
    /// # Errors
    /// As [`Self::next_line`]; `bound` is for each of the guest's lines, and for QEMU's end.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus, Error> {
        while self.next_line(bound)?.is_some() {}
        self.child.wait(bound)
    }

    /// Ends the VMM at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        // A case may have found out by another way that nothing comes from it any more.
        self.loss();
    }
}
