//! One module per page.

mod cluster;
mod device;
mod devices;
mod enrollment;
mod not_found;
pub(crate) mod overview;

pub(crate) use cluster::Cluster;
pub(crate) use device::Device;
pub(crate) use devices::Devices;
pub(crate) use enrollment::Enrollment;
pub(crate) use not_found::NotFound;
pub(crate) use overview::Overview;

#[cfg(test)]
mod tests;
