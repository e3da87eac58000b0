//! What is known of the keys of rows that a statement touches: which are equal, which are among those
//! of others, and which are given.
//!
//! A *node* is the key of the rows that one mention of a table stands for: only those that can have
//! a part in the result. Nodes that are equal in every row of it are one *class*. A class *follows*
//! another if its keys are among those of the other's rows, which need not hold the other way
//! round: the far side of a LEFT JOIN, or what a correlated subquery looks at.

use super::OneOf;

pub(super) type Node = usize;

#[derive(Debug, Default)]
pub(super) struct Links {
    nodes: Vec<State>,
}

#[derive(Debug)]
struct State {
    /// Another node of the class, or itself if it stands for the class.
    parent: Node,
    group: u16,
    among: Vec<OneOf>,
    follows: Option<Node>,
}

impl Links {
    /// A new node, of which nothing is known.
    pub(super) fn node(&mut self, group: u16) -> Node {
        let node = self.nodes.len();
        self.nodes.push(State { parent: node, group, among: Vec::new(), follows: None });
        node
    }

    /// A new node whose keys are among those of another.
    pub(super) fn follower(&mut self, of: Node) -> Node {
        let node = self.node(self.group(of));
        self.follow(node, of);
        node
    }

    pub(super) fn group(&self, node: Node) -> u16 {
        self.nodes.get(node).map_or(0, |state| state.group)
    }

    /// The node that stands for its class.
    pub(super) fn class(&self, mut node: Node) -> Node {
        while let Some(state) = self.nodes.get(node).filter(|state| state.parent != node) {
            node = state.parent;
        }
        node
    }

    /// The key is one of these.
    pub(super) fn fix(&mut self, node: Node, among: OneOf) {
        let class = self.class(node);
        if let Some(state) = self.nodes.get_mut(class) {
            state.among.push(among);
        }
    }

    /// Both have the same key. Of different groups that says nothing of shards.
    pub(super) fn equal(&mut self, one: Node, other: Node) {
        let (one, other) = (self.class(one), self.class(other));
        if one == other || self.group(one) != self.group(other) {
            return;
        }
        let Some(gone) = self.nodes.get_mut(other) else { return };
        gone.parent = one;
        let (among, follows) = (std::mem::take(&mut gone.among), gone.follows.take());
        if let Some(state) = self.nodes.get_mut(one) {
            state.among.extend(among);
            state.follows = state.follows.or(follows);
        }
    }

    /// The first's keys are among the second's.
    pub(super) fn follow(&mut self, one: Node, other: Node) {
        let class = self.class(one);
        if class == self.class(other) || self.group(one) != self.group(other) {
            return;
        }
        if let Some(state) = self.nodes.get_mut(class) {
            state.follows = state.follows.or(Some(other));
        }
    }

    /// The class that a node's follows in the end. Those that follow one another in a circle have
    /// the same keys; the first of them stands for all.
    pub(super) fn root(&self, node: Node) -> Node {
        let next = |class: Node| {
            let follows = self.nodes.get(class).and_then(|state| state.follows);
            follows.map(|next| self.class(next)).filter(|next| *next != class)
        };
        let start = self.class(node);
        let mut path = vec![start];
        let mut class = start;
        while let Some(next) = next(class) {
            if let Some(circle) = path.iter().position(|known| *known == next) {
                return path
                    .get(circle..)
                    .and_then(|all| all.iter().min())
                    .map_or(next, |min| *min);
            }
            path.push(next);
            class = next;
        }
        class
    }

    /// What the keys of a class are among.
    pub(super) fn among(&self, class: Node) -> &[OneOf] {
        self.nodes.get(class).map_or(&[], |state| &state.among)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_followed_to_where_they_come_from() {
        let mut links = Links::default();
        let nodes: Vec<Node> = (0..6).map(|_| links.node(0)).collect();
        let other_group = links.node(1);
        links.equal(nodes[0], nodes[1]);
        links.follow(nodes[2], nodes[1]);
        links.follow(nodes[3], nodes[2]);
        links.fix(nodes[1], OneOf { slots: Box::default(), stored: false });
        links.equal(nodes[4], other_group);
        let roots: Vec<Node> = nodes.iter().map(|node| links.root(*node)).collect();
        assert_eq!(roots, [0, 0, 0, 0, 4, 5]);
        assert_eq!(links.among(links.root(3)).len(), 1);
        assert_eq!(links.root(other_group), other_group);
    }

    #[test]
    fn circles_have_one_root() {
        let mut links = Links::default();
        let [a, b, c] = [0; 3].map(|group| links.node(group));
        links.follow(a, b);
        links.follow(b, c);
        links.follow(c, a);
        assert_eq!([a, b, c].map(|node| links.root(node)), [a; 3]);
        // Of its own class nothing follows.
        links.equal(a, b);
        links.equal(b, c);
        assert_eq!([a, b, c].map(|node| links.root(node)), [links.class(a); 3]);
    }
}
