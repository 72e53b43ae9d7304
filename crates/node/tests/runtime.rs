//! A runtime that ends before its node.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rejoin::{Error, Node};
use tokio::runtime::Runtime;

#[test]
fn a_node_whose_runtime_ends_first_closes_its_store_in_order() {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::SeqCst);
        usual(panic);
    }));
    let directory = tempfile::tempdir().unwrap();
    let open = |runtime: &Runtime| runtime.block_on(Node::builder().data_dir(directory.path()).open());
    let runtime = Runtime::new().unwrap();
    let node = open(&runtime).unwrap();
    runtime.block_on(node.put("motd", "hello")).unwrap();
    drop(runtime);
    drop(node);

    let runtime = Runtime::new().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let node = loop {
        match open(&runtime) {
            Err(Error::Locked(_)) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(runtime.block_on(node.get::<String>("motd")).unwrap().unwrap(), "hello");
    runtime.block_on(node.close()).unwrap();
    assert!(!PANICKED.load(Ordering::SeqCst), "a thread of the node panicked");
}
