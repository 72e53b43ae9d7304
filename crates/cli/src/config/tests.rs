//! Merging, and every way in which a configuration can be wrong.

use std::ffi::OsString;
use std::path::Path as FilePath;

use super::*;

/// Sources as text: a file, variables, flags.
#[derive(Default)]
struct Sources<'a> {
    file: &'a str,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [(Key, &'static str, &'a str)],
}

impl Sources<'_> {
    fn load(&self) -> Result<Settings, ConfigError> {
        let in_file = file::parse(FilePath::new("rejoin.toml"), self.file)?;
        let variables =
            self.environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::of(variables);
        let flag = |(key, flag, text): &(Key, &'static str, &str)| Given {
            key: *key,
            raw: Raw::Text((*text).to_owned()),
            origin: Origin::Flag(flag),
        };
        Settings::merge([in_file, environment.given()?, self.flags.iter().map(flag).collect()])
    }
}

fn in_file(file: &str) -> Result<Settings, ConfigError> {
    Sources { file, ..Sources::default() }.load()
}

/// The two lines that a person reads.
fn told(error: ConfigError) -> String {
    let failure = Failure::from(error);
    assert_eq!(failure.exit(), Exit::Config);
    failure.text()
}

#[test]
fn a_full_file_sets_everything() {
    let settings = in_file(
        r#"
        listen = "0.0.0.0:4000"
        data_dir = "/var/lib/rejoin"
        name = "berlin"
        peers = ["http://10.0.0.2:3000", "ws://10.0.0.3:3000"]
        durability = "os"

        [auth]
        token = "s3cret"
        allowed_hosts = ["sync.example.com"]
        allowed_origins = ["https://app.example.com"]

        [cluster]
        name = "production"
        secret = "a long passphrase"

        [sync]
        anti_entropy_interval = "off"
        max_versions = 3
        tombstone_retention = "30d"
        max_message_age = 300000

        [conflict]
        default_strategy = "first-write-wins"

        [conflict.path_strategies]
        users = "merge-fields"
        "shops/berlin/" = "last-write-wins"

        [limits]
        value_bytes = "2MiB"
        value_depth = 32
        siblings = 16
        siblings_bytes = "8MiB"
        connections = 5000
        "#,
    )
    .unwrap();
    assert_eq!(settings.listen.value, "0.0.0.0:4000");
    assert_eq!(settings.listen.origin, Origin::File { path: "rejoin.toml".into(), line: 2 });
    assert_eq!(settings.data_dir.value, PathBuf::from("/var/lib/rejoin"));
    assert_eq!(settings.name.value.as_deref(), Some("berlin"));
    assert_eq!(settings.peers.value, ["http://10.0.0.2:3000", "ws://10.0.0.3:3000"]);
    assert_eq!(settings.durability.value, Durability::Os);
    assert_eq!(settings.auth_token.value.as_deref(), Some("s3cret"));
    assert_eq!(settings.allowed_hosts.value, ["sync.example.com"]);
    assert_eq!(settings.allowed_origins.value, ["https://app.example.com"]);
    assert_eq!(settings.cluster_name.value, "production");
    assert_eq!(settings.cluster_secret.value.as_deref(), Some("a long passphrase"));
    assert_eq!(settings.anti_entropy_interval.value, None);
    assert_eq!(settings.max_versions.value, 3);
    assert_eq!(settings.tombstone_retention.value, Duration::from_secs(30 * 86_400));
    assert_eq!(settings.max_message_age.value, Some(Duration::from_secs(300)));
    assert_eq!(settings.default_strategy.value.name(), "first-write-wins");
    let rules: Vec<(&str, &str)> = settings
        .path_strategies
        .value
        .iter()
        .map(|(path, strategy)| (path.as_str(), strategy.name()))
        .collect();
    assert_eq!(rules, [("shops/berlin", "last-write-wins"), ("users", "merge-fields")]);
    assert_eq!(settings.value_bytes.value, 2 << 20);
    assert_eq!(settings.value_depth.value, 32);
    assert_eq!((settings.siblings.value, settings.siblings_bytes.value), (16, 8 << 20));
    assert_eq!(settings.connections.value, Some(5_000));
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let settings = Sources {
        file: "listen = \"127.0.0.1:1\"\nname = \"file\"\ndurability = \"os\"",
        environment: &[("REJOIN_LISTEN", "127.0.0.1:2"), ("REJOIN_NAME", "environment"), ("PATH", "/bin")],
        flags: &[(Key::Listen, "--listen", "127.0.0.1:3")],
    }
    .load()
    .unwrap();
    assert_eq!(
        (settings.listen.value.as_str(), settings.listen.origin),
        ("127.0.0.1:3", Origin::Flag("--listen"))
    );
    assert_eq!(settings.name.value.as_deref(), Some("environment"));
    assert_eq!(settings.name.origin, Origin::Environment("REJOIN_NAME".into()));
    assert_eq!(settings.durability.value, Durability::Os);
    assert_eq!(settings.durability.origin, Origin::File { path: "rejoin.toml".into(), line: 3 });
    assert_eq!((settings.max_versions.value, settings.max_versions.origin), (10, Origin::Default));
}

#[test]
fn every_option_has_a_variable() {
    for (key, text, shown) in [
        (Key::Listen, "127.0.0.1:9", "\"127.0.0.1:9\""),
        (Key::DataDir, "/d", "\"/d\""),
        (Key::Name, "n", "\"n\""),
        (Key::Peers, "http://a:1, http://b:2", "[\"http://a:1\",\"http://b:2\"]"),
        (Key::Durability, "memory", "\"memory\""),
        (Key::AuthToken, "t", "\"********\""),
        (Key::AllowedHosts, "a,b", "[\"a\",\"b\"]"),
        (Key::AllowedOrigins, "https://a", "[\"https://a\"]"),
        (Key::ClusterName, "c", "\"c\""),
        (Key::ClusterSecret, "s", "\"********\""),
        (Key::AntiEntropyInterval, "60000", "\"1m\""),
        (Key::MaxVersions, "7", "7"),
        (Key::TombstoneRetention, "1h", "\"1h\""),
        (Key::MaxMessageAge, "1h", "\"1h\""),
        (Key::DefaultStrategy, "merge-fields", "\"merge-fields\""),
        (
            Key::PathStrategies,
            "users=merge-fields, a/b=last-write-wins",
            r#"{"a/b":"last-write-wins","users":"merge-fields"}"#,
        ),
        (Key::ValueBytes, "1 KiB", "1024"),
        (Key::ValueDepth, "5", "5"),
        (Key::Siblings, "9", "9"),
        (Key::SiblingsBytes, "1 MiB", "1048576"),
        (Key::Connections, "2000", "2000"),
    ] {
        let variable = key.variable();
        let settings = Sources { environment: &[(&variable, text)], ..Sources::default() }.load().unwrap();
        let printed = print_json(&settings);
        assert_eq!(printed[key.name()]["value"].to_string(), shown, "{variable}");
        assert_eq!(printed[key.name()]["origin"], format!("environment {variable}"));
    }
    assert_eq!(Key::AntiEntropyInterval.variable(), "REJOIN_SYNC_ANTI_ENTROPY_INTERVAL");
}

#[test]
fn an_empty_variable_is_none() {
    let settings = Sources { environment: &[("REJOIN_NAME", "")], ..Sources::default() }.load().unwrap();
    assert_eq!(settings.name.origin, Origin::Default);
}

#[test]
fn every_wrong_file_says_where_and_what_is_allowed() {
    for (file, expected) in [
        ("\nlisten = 3000", "`listen` cannot be 3000 (rejoin.toml:2).|It must be an address and port"),
        ("listen = \"3000\"", "`listen` cannot be \"3000\" (rejoin.toml:1).|"),
        ("listen = \":3000\"", "`listen` cannot be \":3000\""),
        ("listen = \"http://a:1\"", "`listen` cannot be"),
        ("listen = \"a:99999\"", "`listen` cannot be"),
        ("data_dir = \"\"", "`data_dir` cannot be \"\""),
        ("name = true", "`name` cannot be true"),
        ("[sync]\nallow_removals = 1", "`sync.allow_removals` cannot be 1"),
        (
            "peers = \"localhost\"",
            "`peers` cannot be \"localhost\" (rejoin.toml:1).|It must be a list of URLs",
        ),
        ("peers = [1]", "`peers` cannot be [1]"),
        ("peers = [\"https://a\"]", "TLS is not built in yet"),
        (
            "durability = \"ssd\"",
            "`durability` cannot be \"ssd\" (rejoin.toml:1).|It must be one of \"disk\", \"os\"",
        ),
        ("[auth]\ntoken = \"two words\"", "`auth.token` cannot be this text (rejoin.toml:2)."),
        ("[auth]\nallowed_origins = [\"app.example.com\"]", "`auth.allowed_origins` cannot be"),
        ("[sync]\nanti_entropy_interval = \"sometimes\"", "or \"off\""),
        ("[sync]\nanti_entropy_interval = \"10ms\"", "of at least 1 s"),
        (
            "[sync]\nmax_versions = -1",
            "`sync.max_versions` cannot be -1 (rejoin.toml:2).|It must be a whole number",
        ),
        ("[sync]\nmax_versions = 1.5", "a value of type float"),
        ("[sync]\nmax_versions = 99999999999999999999", "integer of more than 64 bits"),
        ("[sync]\ntombstone_retention = \"1 fortnight\"", "`sync.tombstone_retention` cannot be"),
        ("[conflict]\ndefault_strategy = \"newest\"", "one of \"last-write-wins\", \"first-write-wins\""),
        ("[conflict]\ndefault_strategy = \"custom\"", "a function, for a prefix under conflict.resolvers"),
        ("[conflict.path_strategies]\na = \"custom\"", "beside a file for a under conflict.resolvers"),
        (
            "[conflict.resolvers]\ninventory = 7",
            "`conflict.resolvers.inventory` cannot be 7 (rejoin.toml:2).|It must be the path of a file",
        ),
        ("[conflict]\npath_strategies = \"users\"", "such as users=merge-fields,settings=first-write-wins"),
        (
            "[conflict.path_strategies]\nusers = \"mergefields\"",
            "`conflict.path_strategies.users` cannot be \"mergefields\" (rejoin.toml:2).|It must be one of",
        ),
        (
            "[conflict.path_strategies]\n\"a//b\" = \"merge-fields\"",
            "`conflict.path_strategies.a//b` cannot be \"merge-fields\" (rejoin.toml:2).|It must be for a path prefix",
        ),
        ("[conflict.path_strategies]\nusers = 5", "`conflict.path_strategies.users` cannot be 5"),
        ("[limits]\nvalue_bytes = \"17MiB\"", "at most 16 MiB"),
        ("[limits]\nvalue_bytes = 0", "`limits.value_bytes` cannot be 0"),
        ("[limits]\nvalue_depth = 127", "a whole number from 1 to 126"),
        (
            "[limits]\nconnections = 0",
            "`limits.connections` cannot be 0 (rejoin.toml:2).|It must be a whole number",
        ),
        ("lisen = \"a:1\"", "There is no option `lisen` at rejoin.toml:1.|Did you mean `listen`?"),
        (
            "name = \"x\"\n\n[sync]\nmax_version = 1",
            "`sync.max_version` at rejoin.toml:4.|Did you mean `sync.max_versions`?",
        ),
        ("[snyc]\nmax_versions = 1", "There is no option `snyc` at rejoin.toml:1."),
        ("sync = 5", "There is no option `sync` at rejoin.toml:1."),
        ("port = 3000", "Did you mean `listen`?"),
        ("dbPath = \"./db\"", "Did you mean `data_dir`?"),
        (
            "colour = 1",
            "There is no option `colour` at rejoin.toml:1.|`rejoin config print` shows every option.",
        ),
        ("z = 1\na = 2", "There is no option `z` at rejoin.toml:1."),
        ("name = \"a\"\nlisten = = 1", "rejoin.toml:2 is not TOML: "),
        ("name = \"a\"\nname = \"b\"", "rejoin.toml:2 is not TOML: duplicate key"),
    ] {
        let told = told(in_file(file).unwrap_err());
        assert!(told.contains(expected), "{file:?}\n  expected {expected}\n  but got  {told}");
    }
}

#[test]
fn an_unknown_variable_names_the_nearest() {
    for (variable, nearest) in [
        ("REJOIN_LISTN", "REJOIN_LISTEN"),
        ("REJOIN_PEER", "REJOIN_PEERS"),
        ("REJOIN_MAX_VERSIONS", "REJOIN_SYNC_MAX_VERSIONS"),
        ("REJOIN_PORT", "REJOIN_LISTEN"),
        ("REJOIN_SECRET", "REJOIN_CLUSTER_SECRET"),
        ("REJOIN_CONFIGURATION", "`rejoin config print` shows every option."),
    ] {
        let error = Sources { environment: &[(variable, "x")], ..Sources::default() }.load().unwrap_err();
        let told = told(error);
        assert!(told.starts_with(&format!("There is no option `{variable}`.")), "{told}");
        assert!(told.contains(nearest), "{told}");
    }
}

#[test]
fn a_list_as_text_is_separated_by_commas_or_written_as_in_the_file() {
    for text in ["http://a:1, http://b:2", "[\"http://a:1\", \"http://b:2\"]"] {
        let environment = &[("REJOIN_PEERS", text)];
        let settings = Sources { environment, ..Sources::default() }.load().unwrap();
        assert_eq!(settings.peers.value, ["http://a:1", "http://b:2"], "{text}");
    }
    let environment = &[("REJOIN_PEERS", "[\"http://a:1\"")];
    let error = told(Sources { environment, ..Sources::default() }.load().unwrap_err());
    assert!(error.contains("It must be a list of URLs, such as [\"http://10.0.0.2:3000\"]"), "{error}");
}

#[test]
fn variables_of_the_command_line_are_not_options() {
    let environment = &[
        ("REJOIN_URL", "x"),
        ("REJOIN_TOKEN", "x"),
        ("REJOIN_LOG", "x"),
        ("REJOIN_CONFIG", "/etc/rejoin.toml"),
    ];
    assert!(Sources { environment, ..Sources::default() }.load().is_ok());
    let environment = Environment::of([("REJOIN_CONFIG".into(), "/etc/rejoin.toml".into())]);
    assert_eq!(environment.config_file(), Some(FilePath::new("/etc/rejoin.toml")));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::load(Some(FilePath::new("/no/such.toml")), &Environment::default(), Vec::new())
        .unwrap_err();
    assert!(
        told(error)
            .starts_with("The configuration file /no/such.toml cannot be read: no such file or directory.")
    );
}

#[test]
fn what_is_printed_is_a_configuration_file() {
    let given = "listen = \"[::1]:3000\"\npeers = [\"http://a:1\"]\n[sync]\nanti_entropy_interval = \"90s\"\n\
                 [conflict.path_strategies]\n\"a b\" = \"merge-fields\"\n";
    let settings = in_file(given).unwrap();
    let printed = print(&settings);
    let again = in_file(&printed).unwrap();
    let values = |settings: &Settings| {
        let printed = print_json(settings);
        Key::ALL.map(|key| printed[key.name()]["value"].clone())
    };
    assert_eq!(values(&settings), values(&again), "{printed}");
}
