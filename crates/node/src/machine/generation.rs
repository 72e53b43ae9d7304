//! The generation of a virtual machine: whether the machine was copied or put back, as its hypervisor says.
//!
//! The kernel reads the generation id that the hypervisor offers (the ACPI device of QEMU, Hyper-V, VMware and Firecracker)
//! and shows it to nobody; since Linux 6.10 it sends an event when it has changed. Any process may listen for the kernel's
//! events. Besides, an operator can name a file whose content changes with each copy.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use crate::config::GENERATION_FILE_BYTES_MAX;

/// Where it is looked for.
#[derive(Debug)]
pub(super) struct Generation {
    file: Option<Watched>,
    events: Option<events::Events>,
}

#[derive(Debug)]
struct Watched {
    at: PathBuf,
    /// What was last read of it; nothing while it has not been there.
    seen: Option<Vec<u8>>,
}

impl Generation {
    pub(super) fn watch(file: Option<PathBuf>) -> Generation {
        let file = file.map(|at| {
            let mut file = Watched { at, seen: None };
            file.has_changed();
            if file.seen.is_none() {
                tracing::warn!(file = %file.at.display(), "the file of the machine's generation cannot be read yet");
            }
            file
        });
        Generation { file, events: events::Events::listen() }
    }

    /// Whether it is another one than at the last look.
    pub(super) fn has_changed(&mut self) -> bool {
        // Both are looked at: one event is told once.
        let by_event = self.events.as_ref().is_some_and(events::Events::tell_of_a_new_generation);
        let by_file = self.file.as_mut().is_some_and(Watched::has_changed);
        by_event || by_file
    }
}

impl Watched {
    /// A file that is away says nothing, nor does one that was never there before. An empty one is being written.
    fn has_changed(&mut self) -> bool {
        let mut now = Vec::new();
        let read = File::open(&self.at)
            .and_then(|file| file.take(GENERATION_FILE_BYTES_MAX).read_to_end(&mut now))
            .is_ok_and(|bytes| bytes > 0);
        if !read || self.seen.as_ref() == Some(&now) {
            return false;
        }
        self.seen.replace(now).is_some()
    }
}

#[cfg(target_os = "linux")]
mod events {
    use rustix::fd::OwnedFd;
    use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

    use crate::config::MACHINE_EVENTS_PER_LOOK;

    /// The kernel's own events; programs send theirs to other groups.
    const KERNEL_GROUP: u32 = 1;

    /// Events from the kernel about devices.
    #[derive(Debug)]
    pub(super) struct Events(OwnedFd);

    impl Events {
        /// Nothing where that is forbidden, as in some containers.
        pub(super) fn listen() -> Option<Events> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket =
                socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT)).ok()?;
            bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP)).ok()?;
            Some(Events(socket))
        }

        /// Reads what has come; as a rule nothing.
        pub(super) fn tell_of_a_new_generation(&self) -> bool {
            let mut told = false;
            let mut event = [0; 4096];
            for _ in 0..MACHINE_EVENTS_PER_LOOK {
                let Ok((length, _, from)) = recvfrom(&self.0, &mut event[..], RecvFlags::empty()) else {
                    break;
                };
                let from_kernel = from
                    .and_then(|from| SocketAddrNetlink::try_from(from).ok())
                    .is_some_and(|from| from.pid() == 0);
                told |= from_kernel && is_new_generation(&event[..length]);
            }
            told
        }
    }

    /// Whether an event, texts that each end with a zero byte, is that of a virtual machine's new generation.
    pub(super) fn is_new_generation(event: &[u8]) -> bool {
        event.split(|byte| *byte == 0).any(|text| text == b"NEW_VMGENID=1")
    }
}

#[cfg(not(target_os = "linux"))]
mod events {
    /// Other systems have other ways; none of them is listened to.
    #[derive(Debug)]
    pub(super) enum Events {}

    impl Events {
        pub(super) fn listen() -> Option<Events> {
            None
        }

        pub(super) fn tell_of_a_new_generation(&self) -> bool {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_another_generation_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("generation");
        let mut generation = Generation { file: Some(Watched { at: at.clone(), seen: None }), events: None };
        assert!(!generation.has_changed(), "it is not there");
        std::fs::write(&at, "first").unwrap();
        assert!(!generation.has_changed(), "nothing was known before");
        assert!(!generation.has_changed());
        std::fs::write(&at, "second").unwrap();
        assert!(generation.has_changed());
        assert!(!generation.has_changed(), "once");
        std::fs::write(&at, "").unwrap();
        assert!(!generation.has_changed(), "it is being written");
        std::fs::remove_file(&at).unwrap();
        assert!(!generation.has_changed(), "it is away");
        std::fs::write(&at, "second").unwrap();
        assert!(!generation.has_changed(), "it is back");
        std::fs::write(&at, "third").unwrap();
        assert!(generation.has_changed());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_event_is_known_by_its_text() {
        let event = b"change@/devices/LNXSYSTM:00/QEMUVGID:00\0ACTION=change\0SUBSYSTEM=acpi\0NEW_VMGENID=1\0SEQNUM=7\0";
        assert!(events::is_new_generation(event));
        assert!(!events::is_new_generation(b"change@/devices/x\0ACTION=change\0SUBSYSTEM=NEW_VMGENID=1x\0"));
        assert!(!events::is_new_generation(b""));
        // Listening is allowed to everybody; where a sandbox forbids it, there is nothing to hear.
        if let Some(listening) = events::Events::listen() {
            assert!(!listening.tell_of_a_new_generation());
        }
    }
}
