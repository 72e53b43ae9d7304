//! The routes by name: what metrics count and what the OpenAPI document describes.
//!
//! A new route is a line here, a variant of [`crate::route::Route`], and its operations in [`crate::openapi`]; the
//! compiler and a test ask for whichever is missing.

macro_rules! endpoints {
    ($($name:ident => $template:literal,)*) => {
        /// A route without its parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Endpoint {
            $(#[doc = $template] $name,)*
        }

        impl Endpoint {
            /// All of them.
            pub(crate) const ALL: &[Endpoint] = &[$(Endpoint::$name,)*];

            /// The path with its parameters in braces.
            pub(crate) fn template(self) -> &'static str {
                match self {
                    $(Endpoint::$name => $template,)*
                }
            }
        }
    };
}

endpoints! {
    Data => "/api/{path}",
    Scan => "/api/scan/{prefix}",
    History => "/api/history/{path}",
    Status => "/api/status",
    AntiEntropy => "/api/_anti_entropy",
    Quarantine => "/api/_quarantine",
    Release => "/api/_quarantine/release",
    Batch => "/api/_batch",
    Removals => "/api/_removals",
    UndoRemovals => "/api/_removals/undo",
    Peers => "/api/_peers",
    Conflicts => "/api/_conflicts/{prefix}",
    Where => "/api/_where/{path}",
    Explain => "/api/_explain/{path}",
    Changes => "/api/_changes",
    Ticket => "/api/_ticket",
    Socket => "/api/_ws",
    Link => "/api/_link",
    OpenApi => "/api/_openapi.json",
    Live => "/livez",
    Ready => "/readyz",
    Version => "/version",
    Metrics => "/metrics",
}
