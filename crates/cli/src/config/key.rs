//! The list of options: names, what they may be, and what is secret.

/// An option of `rejoin serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Listen,
    DataDir,
    Name,
    Peers,
    Durability,
    AuthToken,
    AllowedHosts,
    AllowedOrigins,
    ClusterName,
    ClusterSecret,
    AntiEntropyInterval,
    MaxVersions,
    TombstoneRetention,
    AllowRemovals,
    MaxMessageAge,
    DefaultStrategy,
    PathStrategies,
    Resolvers,
    ValueBytes,
    ValueDepth,
    Siblings,
    SiblingsBytes,
    Connections,
    GenerationFile,
    ClockJumps,
}

impl Key {
    /// Every option, in the order of a configuration file.
    pub(crate) const ALL: [Key; 25] = [
        Key::Listen,
        Key::DataDir,
        Key::Name,
        Key::Peers,
        Key::Durability,
        Key::AuthToken,
        Key::AllowedHosts,
        Key::AllowedOrigins,
        Key::ClusterName,
        Key::ClusterSecret,
        Key::AntiEntropyInterval,
        Key::MaxVersions,
        Key::TombstoneRetention,
        Key::AllowRemovals,
        Key::MaxMessageAge,
        Key::DefaultStrategy,
        Key::PathStrategies,
        Key::Resolvers,
        Key::ValueBytes,
        Key::ValueDepth,
        Key::Siblings,
        Key::SiblingsBytes,
        Key::Connections,
        Key::GenerationFile,
        Key::ClockJumps,
    ];

    /// The name in a configuration file, tables joined by dots.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Key::Listen => "listen",
            Key::DataDir => "data_dir",
            Key::Name => "name",
            Key::Peers => "peers",
            Key::Durability => "durability",
            Key::AuthToken => "auth.token",
            Key::AllowedHosts => "auth.allowed_hosts",
            Key::AllowedOrigins => "auth.allowed_origins",
            Key::ClusterName => "cluster.name",
            Key::ClusterSecret => "cluster.secret",
            Key::AntiEntropyInterval => "sync.anti_entropy_interval",
            Key::MaxVersions => "sync.max_versions",
            Key::TombstoneRetention => "sync.tombstone_retention",
            Key::AllowRemovals => "sync.allow_removals",
            Key::MaxMessageAge => "sync.max_message_age",
            Key::DefaultStrategy => "conflict.default_strategy",
            Key::PathStrategies => "conflict.path_strategies",
            Key::Resolvers => "conflict.resolvers",
            Key::ValueBytes => "limits.value_bytes",
            Key::ValueDepth => "limits.value_depth",
            Key::Siblings => "limits.siblings",
            Key::SiblingsBytes => "limits.siblings_bytes",
            Key::Connections => "limits.connections",
            Key::GenerationFile => "machine.generation_file",
            Key::ClockJumps => "machine.clock_jumps",
        }
    }

    /// What values it takes, as the end of "It must be …".
    pub(crate) fn allowed(self) -> &'static str {
        match self {
            Key::Listen => "an address and port, such as \"127.0.0.1:3000\"",
            Key::DataDir => "the path of a directory, such as \"./rejoin-data\"",
            Key::Name | Key::ClusterName | Key::ClusterSecret => "text that is not empty",
            Key::Peers => "a list of URLs, such as [\"http://10.0.0.2:3000\"]",
            Key::Durability => "one of \"disk\", \"os\" and \"memory\"",
            Key::AuthToken => "visible ASCII text without spaces",
            Key::AllowedHosts => "a list of host names, such as [\"sync.example.com\"]",
            Key::AllowedOrigins => "a list of origins, such as [\"https://app.example.com\"]",
            Key::AntiEntropyInterval => {
                "a duration of at least 1 s such as \"60s\", milliseconds as a number, or \"off\""
            }
            Key::MaxVersions => "a whole number from 0 to 4294967295",
            Key::TombstoneRetention | Key::MaxMessageAge => {
                "a duration such as \"90s\", \"12h\" or \"7d\", or milliseconds as a number"
            }
            Key::AllowRemovals | Key::ClockJumps => "true or false",
            Key::DefaultStrategy => "one of \"last-write-wins\", \"first-write-wins\" and \"merge-fields\"",
            Key::PathStrategies => {
                "a table of path prefixes and strategies, such as users = \"merge-fields\""
            }
            Key::Resolvers => {
                "a table of path prefixes and JavaScript files, such as inventory = \"inventory.js\""
            }
            Key::ValueBytes => "a size such as 1048576 or \"1MiB\", at most 16 MiB",
            Key::ValueDepth => "a whole number from 1 to 126",
            Key::Siblings => "a whole number from 1 to 65536",
            Key::SiblingsBytes => "a size such as 33554432 or \"32MiB\", at most 256 MiB",
            Key::Connections => "a whole number from 1 to 1000000",
            Key::GenerationFile => "the path of a file, such as \"/run/machine-generation\"",
        }
    }

    /// Whether its value is hidden from everything that is shown.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Key::AuthToken | Key::ClusterSecret)
    }

    /// The option of that name.
    pub(crate) fn of_name(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(self) -> String {
        format!("REJOIN_{}", self.name().replace('.', "_").to_uppercase())
    }

    /// The table it is in; empty for the top.
    pub(crate) fn table(self) -> &'static str {
        self.name().split_once('.').map_or("", |(table, _)| table)
    }

    /// Its name within its table.
    pub(crate) fn leaf(self) -> &'static str {
        self.name().split_once('.').map_or(self.name(), |(_, leaf)| leaf)
    }
}

/// Whether a table of the configuration file has this name.
pub(crate) fn is_table(name: &str) -> bool {
    Key::ALL.iter().any(|key| !name.is_empty() && key.table() == name)
}
