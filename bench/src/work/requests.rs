//! PUT, GET and both mixed, over 1 and 64 connections, of all systems in turn.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::client::http::{Http, Paths};
use crate::document::{Documents, key};
use crate::figure::{Figures, Subject};
use crate::load;
use crate::plan::{Plan, Workload};
use crate::process::Process;
use crate::server::{Running, System, Tools};

/// Loading documents into a slow system ends after this time.
const LOAD_MAX: Duration = Duration::from_secs(20);

/// Buffers are written out, and tables merged, within this time after loading.
const SETTLE: Duration = Duration::from_secs(3);

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes of documents that were not there.
    Put,
    /// Reads of documents that are there, in random order.
    Get,
    /// Of ten requests one writes over a document that is there, the others read.
    Mixed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Put => "PUT",
            Kind::Get => "GET",
            Kind::Mixed => "9 GET to 1 PUT",
        }
    }
}

/// A system with documents.
struct Loaded {
    running: Running,
    documents: u32,
}

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let mut systems = vec![System::Nothing, System::RejoinOs, System::RejoinDisk];
    systems.extend(tools.others());
    let mut loaded = Vec::new();
    for system in systems {
        loaded.push(load(system, tools, plan).await?);
    }
    // What loading has set off in the background is over.
    tokio::time::sleep(SETTLE).await;
    for _ in 0..plan.rounds {
        for (kind, connections) in
            [Kind::Put, Kind::Get, Kind::Mixed].into_iter().flat_map(|kind| [(kind, 1), (kind, 64)])
        {
            for system in &mut loaded {
                // There, a write over a document has to name the version before it, which is another request.
                if kind == Kind::Mixed && system.running.system == System::Pouchdb {
                    continue;
                }
                let documents = &mut system.documents;
                let figure = time(&system.running, kind, connections, documents, plan.slice()).await?;
                let case = case(kind, connections);
                figure.add(figures, Workload::Requests, &case, system.running.system);
            }
        }
    }
    Ok(())
}

pub(crate) fn case(kind: Kind, connections: usize) -> String {
    let plural = if connections == 1 { "connection" } else { "connections" };
    format!("{}, {connections} {plural}", kind.name())
}

async fn load(system: System, tools: &Tools, plan: &Plan) -> anyhow::Result<Loaded> {
    let running = system.start(tools).await?;
    let wanted = if system == System::Nothing { 0 } else { plan.documents };
    let documents = fill(&running, wanted).await?;
    eprintln!("{:28} {documents} documents", system.name());
    Ok(Loaded { running, documents: if system == System::Nothing { plan.documents } else { documents } })
}

/// Writes documents from number 0 on; tells how many.
pub(crate) async fn fill(running: &Running, wanted: u32) -> anyhow::Result<u32> {
    let clients = running.connections(64).await?;
    let (begun, next) = (Instant::now(), std::rc::Rc::new(std::cell::Cell::new(0)));
    let documents = RefCell::new(Documents::new(0));
    let ahead = std::rc::Rc::clone(&next);
    let slow = running.system.is_slow();
    let go_on = move || ahead.get() < wanted && !(slow && begun.elapsed() > LOAD_MAX);
    let number = std::rc::Rc::clone(&next);
    load::run(clients, go_on, async move |client| {
        let key = key(number.replace(number.get() + 1));
        let value = documents.borrow_mut().next().to_vec();
        client.put(&key, &value).await
    })
    .await?;
    Ok(next.get())
}

/// What one measurement found.
pub(crate) struct Figure {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

impl Figure {
    pub(crate) fn p50_us(&self) -> f64 {
        self.p50_us
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_us
    }

    pub(crate) fn add(&self, figures: &mut Figures, workload: Workload, case: &str, system: System) {
        let subject = Subject { workload, case, system: system.name(), durability: system.durability() };
        figures.add(&subject, "rate", "/s", self.rate);
        figures.add(&subject, "p50", "ms", self.p50_us / 1000.0);
        figures.add(&subject, "p99", "ms", self.p99_us / 1000.0);
        figures.add(&subject, "server CPU", "µs/request", self.cpu_us);
    }
}

/// Measures requests of one kind. `documents` is how many there are; PUT adds to them.
async fn time(
    running: &Running,
    kind: Kind,
    connections: usize,
    documents: &mut u32,
    during: Duration,
) -> anyhow::Result<Figure> {
    let clients = running.connections(connections).await?;
    time_clients(&running.process, clients, kind, documents, during).await
}

/// The same of a node of ours.
pub(crate) async fn time_of(
    process: &Process,
    port: u16,
    kind: Kind,
    connections: usize,
    documents: &mut u32,
    during: Duration,
) -> anyhow::Result<Figure> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Http::client(port, Paths::Rejoin).await?);
    }
    time_clients(process, clients, kind, documents, during).await
}

async fn time_clients(
    process: &Process,
    clients: Vec<Client>,
    kind: Kind,
    documents: &mut u32,
    during: Duration,
) -> anyhow::Result<Figure> {
    let there = *documents;
    let state = std::rc::Rc::new(RefCell::new((Documents::new(u64::from(there)), there)));
    let shared = std::rc::Rc::clone(&state);
    let request = async move |client: &mut Client| {
        let (key, value) = {
            let (documents, next) = &mut *shared.borrow_mut();
            let writes = kind == Kind::Put || kind == Kind::Mixed && documents.chance(10);
            let number = match kind {
                Kind::Put => {
                    *next += 1;
                    *next - 1
                }
                Kind::Get | Kind::Mixed => documents.number(there),
            };
            (key(number), writes.then(|| documents.next().to_vec()))
        };
        match value {
            Some(value) => client.put(&key, &value).await,
            None => client.get(&key).await.map(drop),
        }
    };
    let cpu = process.cpu_us();
    let (mut load, _clients) = load::run(clients, load::during(during), request).await?;
    let cpu = process.cpu_us() - cpu;
    *documents = state.borrow().1;
    Ok(Figure {
        rate: load.rate(),
        p50_us: load.percentile(0.5),
        p99_us: load.percentile(0.99),
        cpu_us: cpu / load.latencies.len() as f64,
    })
}
