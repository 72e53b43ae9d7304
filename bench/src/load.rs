//! Many connections at once, each with one request at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::client::Client;

/// What a load was answered with.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    /// Microseconds of each request.
    pub(crate) latencies: Vec<f32>,
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// Microseconds within which that part of all requests was answered.
    pub(crate) fn percentile(&mut self, part: f64) -> f64 {
        percentile(&mut self.latencies, part)
    }
}

/// The value that this part of all samples does not exceed.
pub(crate) fn percentile(samples: &mut [f32], part: f64) -> f64 {
    if samples.is_empty() {
        return f64::NAN;
    }
    samples.sort_unstable_by(f32::total_cmp);
    let last = samples.len() - 1;
    let at = (last as f64 * part).round();
    #[expect(clippy::cast_possible_truncation, reason = "within the samples")]
    let at = at as usize;
    f64::from(samples[at.min(last)])
}

/// Lets every client do requests until `go_on` says no; `request` does one.
pub(crate) async fn run<G, R>(
    clients: Vec<Client>,
    go_on: G,
    request: R,
) -> anyhow::Result<(Load, Vec<Client>)>
where
    G: Fn() -> bool + 'static,
    R: AsyncFn(&mut Client) -> anyhow::Result<()> + 'static,
{
    let begun = Instant::now();
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
    let shared = Rc::new((go_on, request));
    let tasks = LocalSet::new();
    let mut running = Vec::new();
    for mut client in clients {
        let (shared, latencies) = (Rc::clone(&shared), Rc::clone(&latencies));
        running.push(tasks.spawn_local(async move {
            while (shared.0)() {
                let sent = Instant::now();
                (shared.1)(&mut client).await?;
                latencies.borrow_mut().push(sent.elapsed().as_secs_f32() * 1e6);
            }
            anyhow::Ok(client)
        }));
    }
    tasks.await;
    let took = begun.elapsed();
    let mut clients = Vec::new();
    for task in running {
        clients.push(task.await??);
    }
    let latencies = latencies.take();
    Ok((Load { took, latencies }, clients))
}

/// Says yes for that long.
pub(crate) fn during(time: Duration) -> impl Fn() -> bool {
    let end = Instant::now() + time;
    move || Instant::now() < end
}
