//! What the kernel and the user side of weir must agree on, and the whole per-packet decision as pure functions.
//!
//! The way of one frame: [`frame::Frame`] gives bounded reads of its bytes; [`packet::Packet`] finds the IP header
//! behind Ethernet, VLAN tags and PPPoE; [`lookup`] turns each address into a set id; [`scope`] leaves of a set the rules
//! that speak for this packet; [`decide::decide`] turns the two sets into a verdict. What comes of it: [`client`] says who
//! is counted, [`meter`] how often something is reported, [`event`] what of the packet. The same code is compiled into the
//! BPF object and run on the host, where it is tested against a linear scan of the configuration.
//!
//! This crate does no I/O, allocates nothing and calls no aya API: only so can both worlds run it.

#![no_std]

pub mod abi;
pub mod client;
pub mod decide;
pub mod event;
pub mod frame;
pub mod lookup;
pub mod meter;
pub mod packet;
pub mod scope;
