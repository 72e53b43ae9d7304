//! The document against the router, and against itself.

use std::collections::BTreeSet;

use hyper::Method;

use super::*;
use crate::route::Route;

/// A target of a route.
fn target(endpoint: Endpoint) -> String {
    endpoint.template().replace("{path}", "a/b").replace("{prefix}", "a/")
}

#[test]
fn every_route_of_the_router_is_in_the_document_and_the_other_way_round() {
    let document = document();
    for endpoint in Endpoint::ALL {
        let target = target(*endpoint);
        let route = Route::of(&target).unwrap_or_else(|error| panic!("{target} is no route: {error:?}"));
        assert_eq!(route.endpoint(), *endpoint, "{target} is another route");
        let described = document["paths"][endpoint.template()].as_object();
        let described = described.unwrap_or_else(|| panic!("{} is not in the table", endpoint.template()));
        let described: BTreeSet<String> = described.keys().map(|method| method.to_uppercase()).collect();
        let served: BTreeSet<String> = route.methods().iter().map(Method::to_string).collect();
        assert_eq!(described, served, "methods of {}", endpoint.template());
    }
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), Endpoint::ALL.len());
}

#[test]
fn the_document_names_each_operation_once_and_every_shape_that_it_uses() {
    let document = document();
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{id}");
        }
    }
    let text = document.to_string();
    let used: BTreeSet<&str> =
        text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let known = document["components"]["schemas"].as_object().unwrap();
    for name in &used {
        assert!(known.contains_key(*name), "no shape {name}");
    }
    for name in known.keys() {
        assert!(used.contains(name.as_str()), "nothing uses {name}");
    }
}
