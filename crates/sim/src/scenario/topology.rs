//! Who is connected to whom.

use crate::rng::Rng;
use crate::world::World;

/// A way to connect nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    Ring,
    Star,
    Mesh,
    /// Two meshes and one edge between them.
    Bridge,
    /// A ring through all nodes, and as many rings again as the degree asks for: every node has the same number of
    /// peers, and the diameter is small.
    Regular,
    /// A random tree with some edges more.
    Tangle,
}

impl Shape {
    pub(super) const ALL: [Shape; 7] =
        [Shape::Line, Shape::Ring, Shape::Star, Shape::Mesh, Shape::Bridge, Shape::Regular, Shape::Tangle];

    /// The mark of a world of this shape.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Shape::Line => "topology: line",
            Shape::Ring => "topology: ring",
            Shape::Star => "topology: star",
            Shape::Mesh => "topology: mesh",
            Shape::Bridge => "topology: two clusters and a bridge",
            Shape::Regular => "topology: random regular",
            Shape::Tangle => "topology: random",
        }
    }

    /// Connects nodes `0..nodes`.
    pub(super) fn connect(self, world: &mut World, rng: &mut Rng, nodes: usize) {
        for node in 1..nodes {
            match self {
                Shape::Line | Shape::Ring => world.connect(node - 1, node),
                Shape::Star => world.connect(0, node),
                Shape::Mesh => (0..node).for_each(|other| world.connect(other, node)),
                Shape::Bridge => {
                    let half = nodes / 2;
                    let first = if node < half { 0 } else { half };
                    (first..node).for_each(|other| world.connect(other, node));
                }
                Shape::Tangle => {
                    let other = rng.index(node);
                    world.connect(other, node);
                    if rng.chance(400) {
                        let other = rng.index(node);
                        world.connect(other, node);
                    }
                }
                Shape::Regular => {}
            }
        }
        match self {
            Shape::Ring if nodes > 2 => world.connect(nodes - 1, 0),
            Shape::Bridge if nodes / 2 > 0 => world.connect(0, nodes / 2),
            Shape::Regular => {
                for _ in 0..rng.between(1, 2) {
                    let mut order: Vec<usize> = (0..nodes).collect();
                    for at in (1..nodes).rev() {
                        order.swap(at, rng.index(at + 1));
                    }
                    for at in 0..nodes {
                        world.connect(order[at], order[(at + 1) % nodes]);
                    }
                }
            }
            _ => {}
        }
    }
}
