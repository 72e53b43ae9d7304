//! `rejoin scan`

use clap::Args;
use futures_util::StreamExt;
use rejoin_client::{Item, RawValue};
use serde::Serialize;

use crate::arguments::Global;
use crate::{Ended, output};

use super::client;

/// Items asked for at a time: the most that a server gives.
const PAGE_ITEMS: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Beginning of the paths, such as users/ for a subtree; everything when left out
    #[arg(default_value = "")]
    prefix: String,
    /// Stop after this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Last path first
    #[arg(long)]
    reverse: bool,
    /// Paths without values
    #[arg(long)]
    keys_only: bool,
    /// Only values that match, such as age>=18,address.city==Berlin
    #[arg(long = "where", value_name = "FILTER")]
    filter: Option<String>,
    /// Only these members of values, such as name,address.city
    #[arg(long, value_name = "MEMBERS", conflicts_with = "keys_only")]
    fields: Option<String>,
    /// List what is deeper than this many segments as directories
    #[arg(long, value_name = "N", conflicts_with = "filter")]
    depth: Option<usize>,
    /// Only how many there are
    #[arg(long, conflicts_with_all = ["limit", "reverse", "keys_only", "fields"])]
    count: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
}

impl Scan {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let mut scan = client(global)?.scan(&self.prefix).reverse(self.reverse).keys_only(self.keys_only);
        if let Some(filter) = self.filter {
            scan = scan.matching(filter);
        }
        if let Some(fields) = self.fields {
            scan = scan.fields(fields);
        }
        if let Some(depth) = self.depth {
            scan = scan.depth(depth);
        }
        if self.count {
            return output::line(scan.count().await?);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut items = scan.limit(limit.clamp(1, PAGE_ITEMS)).items().take(limit);
        while let Some(item) = items.next().await {
            let Item { path, value, .. } = item?;
            match (global.json, &value) {
                (true, value) => output::json(&Line { path: &path, value: value.as_deref() })?,
                (false, Some(value)) => output::line(format_args!("{path}\t{}", value.get()))?,
                (false, None) => output::line(path)?,
            }
        }
        Ok(())
    }
}
