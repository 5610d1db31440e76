//! Where the memory of host blobs comes from, chosen by name.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::dma_buf::DmaBuf;
use crate::dma_heap::DmaHeap;
use crate::error::{Error, Result};
use crate::udmabuf::{Segment, Udmabuf};
use crate::vgem::VgemNode;

/// A source of buffers, as a person writes it: `udmabuf`, `heap[:NAME]` or `vgem[:NODE]`.
///
/// `NAME` is a heap of `/dev/dma_heap`, `system` unless told; `NODE` is a card node, as a path or as
/// a name in `/dev/dri`, and found by itself unless told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllocatorChoice {
    /// Pages of a memfd. Needs no GPU and, with the kernel's limits, gives up to 64 MiB a buffer.
    #[default]
    Udmabuf,
    /// The dma-heap of this name.
    Heap(String),
    /// vgem's dumb buffers, of this node or of the first that is found.
    Vgem(Option<PathBuf>),
}

impl AllocatorChoice {
    /// Opens the devices that it takes. Later allocations open nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] and its like, with what to do about it.
    pub fn open(&self) -> Result<Allocator> {
        Ok(Allocator {
            source: match self {
                Self::Udmabuf => Source::Udmabuf(Udmabuf::open()?),
                Self::Heap(name) => Source::Heap(DmaHeap::open(name)?),
                Self::Vgem(None) => Source::Vgem(VgemNode::find()?),
                Self::Vgem(Some(path)) => Source::Vgem(VgemNode::open(path)?),
            },
        })
    }
}

impl FromStr for AllocatorChoice {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::UnknownAllocator`], also for a heap whose name is no name of a file.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownAllocator {
            name: text.to_owned(),
        };
        let (kind, detail) = match text.split_once(':') {
            Some((_, "")) => return Err(unknown()),
            Some((kind, detail)) => (kind, Some(detail)),
            None => (text, None),
        };
        match (kind, detail) {
            ("udmabuf", None) => Ok(Self::Udmabuf),
            ("heap", None) => Ok(Self::Heap(DmaHeap::SYSTEM.to_owned())),
            ("heap", Some("." | "..")) => Err(unknown()),
            ("heap", Some(name)) if !name.contains('/') => Ok(Self::Heap(name.to_owned())),
            ("vgem", None) => Ok(Self::Vgem(None)),
            // An absolute path stays as it is.
            ("vgem", Some(node)) => Ok(Self::Vgem(Some(Path::new("/dev/dri").join(node)))),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for AllocatorChoice {
    /// A text that gives the same choice again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udmabuf => f.write_str("udmabuf"),
            Self::Heap(name) => write!(f, "heap:{name}"),
            Self::Vgem(None) => f.write_str("vgem"),
            Self::Vgem(Some(node)) => write!(f, "vgem:{}", node.display()),
        }
    }
}

/// A source of buffers that is open.
#[derive(Debug)]
pub struct Allocator {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Udmabuf(Udmabuf),
    Heap(DmaHeap),
    Vgem(VgemNode),
}

impl Allocator {
    /// Makes a buffer of `len` bytes, rounded up to whole pages, zero-filled.
    ///
    /// # Errors
    ///
    /// - [`Error::Empty`], and [`Error::TooLarge`] with what to do about it.
    /// - [`Error::Ioctl`] and [`Error::Syscall`], such as `ENOMEM` and `EMFILE`.
    pub fn allocate(&self, len: u64) -> Result<DmaBuf> {
        let len = whole_pages(len)?;
        match &self.source {
            Source::Udmabuf(device) => {
                device.check_len(len)?;
                let memfd = crate::memfd::create("stile-buffer", len)?;
                // The pages stay with the dma-buf; the memfd's descriptor is not needed any more.
                device.create(&[Segment {
                    memfd: memfd.as_fd(),
                    offset: 0,
                    len,
                }])
            }
            Source::Heap(heap) => heap.alloc(len),
            Source::Vgem(node) => node.allocate(len),
        }
    }
}

/// `len`, rounded up to the page size.
fn whole_pages(len: u64) -> Result<u64> {
    let page = crate::page_size();
    match len.checked_next_multiple_of(page) {
        Some(0) => Err(Error::Empty),
        Some(len) => Ok(len),
        None => {
            let limit = u64::MAX.saturating_sub(page);
            Err(Error::TooLarge {
                len,
                limit,
                hint: "No memory is that large.",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<AllocatorChoice> {
        text.parse()
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(parse("udmabuf"), Ok(AllocatorChoice::Udmabuf));
        assert_eq!(parse("heap"), Ok(AllocatorChoice::Heap("system".into())));
        assert_eq!(
            parse("heap:linux,cma"),
            Ok(AllocatorChoice::Heap("linux,cma".into()))
        );
        assert_eq!(parse("vgem"), Ok(AllocatorChoice::Vgem(None)));
        let card = AllocatorChoice::Vgem(Some("/dev/dri/card1".into()));
        assert_eq!(parse("vgem:card1"), Ok(card.clone()));
        assert_eq!(parse("vgem:/dev/dri/card1"), Ok(card));
        assert_eq!(AllocatorChoice::default(), AllocatorChoice::Udmabuf);
    }

    #[test]
    fn anything_else_is_refused_with_the_forms_that_exist() {
        for text in [
            "",
            "gbm",
            "udmabuf:",
            "udmabuf:x",
            "heap:",
            "heap:a/b",
            "heap:..",
            "vgem:",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, Error::UnknownAllocator { name: text.into() });
            assert!(error.to_string().contains("heap[:NAME]"), "{error}");
        }
    }

    #[test]
    fn lengths_become_whole_pages() {
        let page = crate::page_size();
        assert_eq!(whole_pages(0), Err(Error::Empty));
        assert_eq!(whole_pages(1), Ok(page));
        assert_eq!(whole_pages(page), Ok(page));
        assert_eq!(whole_pages(page + 1), Ok(2 * page));
        assert!(matches!(whole_pages(u64::MAX), Err(Error::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn a_choice_that_is_written_down_reads_the_same(text in "(udmabuf|heap|vgem)(:[a-z0-9/.]*)?") {
            if let Ok(choice) = parse(&text) {
                prop_assert_eq!(parse(&choice.to_string()), Ok(choice));
            }
        }
    }
}
