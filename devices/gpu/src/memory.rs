//! The guest's memory, as the front end shares it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserSingleMemoryRegion};
use vhost::vhost_user::{Error, Result};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

/// Where a region lies in the front end's address space: ring addresses are given there.
#[derive(Clone, Copy, Debug)]
struct Place {
    user_addr: u64,
    guest_addr: u64,
    size: u64,
}

/// All regions.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    map: Arc<GuestMemoryMmap>,
    places: Vec<Place>,
}

impl Memory {
    /// The memory as it is now. Regions stay mapped for whoever holds it.
    pub(crate) fn snapshot(&self) -> Arc<GuestMemoryMmap> {
        Arc::clone(&self.map)
    }

    /// `SET_MEM_TABLE`: these regions and no others.
    pub(crate) fn set(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
    ) -> Result<()> {
        let mut mapped = Vec::new();
        let mut places = Vec::new();
        for (region, file) in regions.iter().zip(files) {
            mapped.push(map(region, file)?);
            places.push(place(region));
        }
        self.map = Arc::new(GuestMemoryMmap::from_regions(mapped).map_err(other)?);
        self.places = places;
        Ok(())
    }

    /// `ADD_MEM_REG`.
    pub(crate) fn add(&mut self, region: &VhostUserSingleMemoryRegion, file: File) -> Result<()> {
        let mapped = Arc::new(map(region, file)?);
        self.map = Arc::new(self.map.insert_region(mapped).map_err(other)?);
        self.places.push(place(region));
        Ok(())
    }

    /// `REM_MEM_REG`.
    pub(crate) fn remove(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let address = GuestAddress(region.guest_phys_addr);
        let (map, _) = self
            .map
            .remove_region(address, region.memory_size)
            .map_err(other)?;
        self.map = Arc::new(map);
        self.places
            .retain(|place| place.guest_addr != region.guest_phys_addr);
        Ok(())
    }

    /// The guest's address of an address of the front end.
    pub(crate) fn guest_address(&self, user_addr: u64) -> Option<GuestAddress> {
        self.places.iter().find_map(|place| {
            let offset = user_addr.checked_sub(place.user_addr)?;
            let address = place.guest_addr.checked_add(offset)?;
            (offset < place.size).then_some(GuestAddress(address))
        })
    }
}

fn map(region: &VhostUserMemoryRegion, file: File) -> Result<GuestRegionMmap> {
    GuestRegionMmap::new(
        region.mmap_region(file)?,
        GuestAddress(region.guest_phys_addr),
    )
    .ok_or(Error::InvalidParam)
}

fn place(region: &VhostUserMemoryRegion) -> Place {
    Place {
        user_addr: region.user_addr,
        guest_addr: region.guest_phys_addr,
        size: region.memory_size,
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}
