//! What a server is made of: the options of `createServer`, checked by the other half of this package.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rejoin::{Builder, Candidate, Custom, Durability, Error, Node, Path, Resolver, ResolverError, Strategy};
use rejoin_http::{ServeLimits, ServeOptions};
use rejoin_resolver::Remembered;
use serde::Deserialize;

use crate::config::SHUTDOWN_GRACE;
use crate::resolver::{Calls, Function};

/// Settings of a server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    db_path: String,
    peers: Vec<String>,
    name: Option<String>,
    anti_entropy_interval: Option<u64>,
    max_versions: u32,
    durability: String,
    auth_token: Option<String>,
    cluster_secret: Option<String>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    value_bytes_max: usize,
    value_depth_max: usize,
    pub(crate) policy: Policy,
}

/// Strategies by path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    default: Rule,
    rules: Vec<(String, Rule)>,
}

/// One strategy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    strategy: String,
    /// Of a custom strategy: the function's number and the name of its code.
    resolver: Option<(u32, String)>,
}

impl Settings {
    /// The settings of a node.
    pub(crate) fn builder(&self, resolvers: &Resolvers) -> Result<Builder, Error> {
        let (default, rules) = resolvers.strategies(&self.policy)?;
        let mut builder = Node::builder()
            .data_dir(&self.db_path)
            .peers(&self.peers)
            .peer_token(self.auth_token.clone())
            .durability(self.durability.parse::<Durability>()?)
            .anti_entropy_interval(self.anti_entropy_interval.map(Duration::from_millis))
            .max_versions(self.max_versions)
            .value_bytes_max(self.value_bytes_max)
            .value_depth_max(self.value_depth_max)
            .default_strategy(default);
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if let Some(secret) = &self.cluster_secret {
            builder = builder.cluster_secret(secret);
        }
        Ok(rules.into_iter().fold(builder, |builder, (prefix, strategy)| builder.strategy(prefix, strategy)))
    }

    /// How the node is served.
    pub(crate) fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            auth_token: self.auth_token.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            allowed_origins: self.allowed_origins.clone(),
            limits: ServeLimits { shutdown_grace: SHUTDOWN_GRACE, ..ServeLimits::default() },
            ..ServeOptions::default()
        }
    }
}

/// The functions of a server that resolve conflicts, each with what it has resolved.
pub(crate) struct Resolvers {
    calls: Arc<Calls>,
    known: std::sync::Mutex<HashMap<u32, Arc<Remembered<Function>>>>,
}

impl Resolvers {
    pub(crate) fn new(calls: Arc<Calls>) -> Resolvers {
        Resolvers { calls, known: std::sync::Mutex::default() }
    }

    /// The strategies of a policy. A function that was known keeps what it has resolved.
    pub(crate) fn strategies(&self, policy: &Policy) -> Result<(Strategy, Vec<(String, Strategy)>), Error> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut named = HashMap::new();
        let mut strategy = |rule: &Rule| match &rule.resolver {
            Some((number, name)) => {
                let function = known.get(number).map_or_else(
                    || {
                        let (calls, name) = (Arc::clone(&self.calls), name.clone());
                        Arc::new(Remembered::new(Function { calls, number: *number, name }))
                    },
                    Arc::clone,
                );
                named.insert(*number, Arc::clone(&function));
                Ok(Strategy::Custom(Custom::new(name, Shared(function))))
            }
            None => Strategy::of_name(&rule.strategy)
                .ok_or_else(|| Error::Config(format!("'{}' is not a conflict strategy", rule.strategy))),
        };
        let default = strategy(&policy.default)?;
        let rules: Result<Vec<_>, Error> =
            policy.rules.iter().map(|(prefix, rule)| Ok((prefix.clone(), strategy(rule)?))).collect();
        let rules = rules?;
        *known = named;
        Ok((default, rules))
    }
}

/// One resolver under several paths.
struct Shared(Arc<Remembered<Function>>);

impl Resolver for Shared {
    fn resolve(
        &self,
        path: &Path,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Candidate, ResolverError> {
        self.0.resolve(path, local, remote)
    }
}
