//! All that a [`FaultyDisk`](super::FaultyDisk) keeps, as it is at one moment, and the disk that a crash leaves of it.
//!
//! Cloning one is cheap: files, names and pages are shared until they are changed. Faults, counts and locks are not part
//! of it. The invariant: the space that is free is the capacity less what each file with a name or a descriptor takes.

use std::path::Path;
use std::sync::Arc;

use super::chance::{Chance, mix};
use super::names::Names;
use super::node::Node;

#[derive(Clone)]
pub(super) struct Image {
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) names: Names,
    pub(super) capacity_bytes: u64,
}

impl Image {
    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    pub(super) fn node_mut(&mut self, node: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[node])
    }

    pub(super) fn named(&self, path: &Path) -> Option<&Node> {
        Some(self.node(self.names.get(path)?))
    }

    pub(super) fn named_mut(&mut self, path: &Path) -> Option<&mut Node> {
        let node = self.names.get(path)?;
        Some(self.node_mut(node))
    }

    /// Makes a file and gives it its name.
    pub(super) fn create(&mut self, path: &Path) -> usize {
        let path: Arc<Path> = path.into();
        let mut ids = (0_u64..).map(|earlier| mix((&path, earlier)));
        let id =
            ids.find(|id| self.nodes.iter().all(|node| node.id != *id)).expect("there is an end to files");
        self.nodes.push(Arc::new(Node::new(id, Arc::clone(&path))));
        self.names.put(path, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Option<()> {
        let node = self.names.get(from)?;
        let replaced = self.names.get(to);
        let to: Arc<Path> = to.into();
        self.names.rename(from, Arc::clone(&to), node);
        self.node_mut(node).path = to;
        self.look_for_names(replaced);
        Some(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<()> {
        let node = self.names.get(path)?;
        self.names.remove(path);
        self.look_for_names(Some(node));
        Some(())
    }

    /// A file that a cut-off rename left under two names lives as long as one of them.
    fn look_for_names(&mut self, node: Option<usize>) {
        if let Some(node) = node {
            let named = self.names.files().any(|(_, named)| named == node);
            self.node_mut(node).named = named;
        }
    }

    pub(super) fn taken_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.taken_bytes()).sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.taken_bytes())
    }

    /// How much of a write finds space.
    pub(super) fn fitting_bytes(&self, node: usize, len: usize, offset: u64) -> usize {
        let pages = &self.node(node).live;
        if pages.missing_bytes(&(offset..offset + len as u64)) == 0 {
            return len;
        }
        pages.fitting_bytes(offset, len, self.free_bytes())
    }

    /// What is found after a crash at this moment.
    pub(super) fn crashed(&self, seed: u64) -> Self {
        let chance = Chance::new(seed);
        let nodes = self.nodes.iter().map(|node| Arc::new(node.crashed(&chance))).collect();
        let names = self.names.crashed(&chance);
        let mut image = Self { nodes, names, capacity_bytes: self.capacity_bytes };
        image.close_all();
        image
    }

    /// What a process finds that was killed and started again.
    pub(super) fn restarted(&self) -> Self {
        let mut image = self.clone();
        image.close_all();
        image
    }

    /// No process has a file open.
    fn close_all(&mut self) {
        let named: Vec<(Arc<Path>, usize)> =
            self.names.files().map(|(path, node)| (Arc::from(path), node)).collect();
        for node in &mut self.nodes {
            let node = Arc::make_mut(node);
            node.named = false;
            node.descriptors = 0;
        }
        for (path, node) in named {
            let node = self.node_mut(node);
            node.named = true;
            node.path = path;
        }
    }
}
