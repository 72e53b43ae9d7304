//! The workloads, one file each.

mod bootstrap;
mod catch_up;
pub(crate) mod embedded;
mod fan_out;
mod mesh;
mod propagation;
mod replication;
mod requests;
mod scan;
mod size;

use tokio::task::LocalSet;

use crate::figure::Figures;
use crate::plan::{Plan, Workload};
use crate::server::Tools;

/// Measures one workload.
pub(crate) async fn measure(
    workload: Workload,
    tools: &Tools,
    plan: &Plan,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            match workload {
                Workload::Requests => requests::measure(tools, plan, figures).await,
                Workload::Scan => scan::measure(tools, plan, figures).await,
                Workload::Embedded => embedded::measure_apart(tools, plan, figures).await,
                Workload::Propagation => propagation::measure(tools, plan, figures).await,
                Workload::Replication => replication::measure(tools, plan, figures).await,
                Workload::CatchUp => catch_up::measure(tools, plan, figures).await,
                Workload::Reconnect => catch_up::reconnect(tools, plan, figures).await,
                Workload::Bootstrap => bootstrap::measure(tools, plan, figures).await,
                Workload::FanOut => fan_out::measure(tools, plan, figures).await,
                Workload::Mesh => mesh::measure(tools, plan, figures).await,
                Workload::Size => size::measure(tools, plan, figures).await,
            }
        })
        .await
}
