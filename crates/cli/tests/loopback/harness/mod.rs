//! Servers, the network between them, and waiting.

mod cluster;
mod http;
mod oracle;
mod proxy;
mod server;
mod wait;

pub(crate) use cluster::{agree, link, linked};
pub(crate) use http::Client;
pub(crate) use oracle::Oracle;
pub(crate) use proxy::{Proxy, Traffic};
pub(crate) use server::{Item, Launch, Server, free_port, read_files, rejoin, run};
pub(crate) use wait::{OverWhenDropped, alone, eventually, ms};
