//! The KV cache in pages: the same logits as in memory that is held whole, bit for bit, while
//! pages come and go. Addresses without a page cannot be read here, as on a GPU: a pass that
//! touches one ends the process.

use crate::common::{SMOL, model, same_bits, tokens};
use nmos::ggml::Device;
use nmos::kv::KvMemory;
use nmos::model::{Gguf, ModelLayout};
use nmos::oracle::{
    DeviceOptions, LayerOracle, LayerOracleOptions, Oracle, TokenTree, TreeNode, WidthClass,
};
use nmos::river::{Plan, ReadSizes, WindowPlan, catalogue};
use nmos::telemetry::{Hub, KvView};
use nmos::units::{Bytes, TokenId};
use std::sync::Arc;

/// Two pages of tokens: the first ends within the row of token 2730.
const CTX: usize = 3000;

struct Run {
    oracle: LayerOracle,
    hub: Arc<Hub>,
    rows: Vec<Vec<f32>>,
    /// Memory of the cache after each step.
    mapped: Vec<Bytes>,
}

impl Run {
    fn new(memory: Option<KvMemory>) -> Self {
        nmos::ggml::init().unwrap();
        let gguf = Gguf::open(&model(SMOL)).unwrap();
        let layout = ModelLayout::from_gguf(&gguf).unwrap();
        let shards = catalogue(&layout);
        let window = WindowPlan::new(&shards, Bytes::mib(1024)).unwrap();
        let plan = match memory {
            Some(_) => Plan::before_device(&shards, &window.stays, Bytes::mib(1024)),
            None => Plan::new(&shards, Bytes::mib(1024)),
        };
        let options = LayerOracleOptions {
            ctx_tokens: CTX,
            threads: 2,
            max_nodes: WidthClass::WIDE.max,
            plan: plan.unwrap(),
            read_sizes: ReadSizes::default(),
            device: memory.map(|kv| DeviceOptions {
                device: Device::cpu().unwrap(),
                window: window.clone(),
                kv,
            }),
        };
        let hub = Hub::new();
        let mut run = Self {
            oracle: LayerOracle::open(&gguf, &layout, options, &hub).unwrap(),
            hub,
            rows: Vec::new(),
            mapped: Vec::new(),
        };
        run.steps();
        run
    }

    fn pass(&mut self, tree: &TokenTree, path: &[usize]) {
        let output = self.oracle.pass(tree, WidthClass::WIDE).unwrap();
        let last = output.logits.of(tree.len() - 1).unwrap();
        self.rows.push(last.to_vec());
        self.oracle.commit(path);
        self.note();
    }

    /// A pass over so many tokens, none after another, the last of which is kept: cells are used
    /// fast.
    fn leap(&mut self, nodes: usize) {
        let mut tree = TokenTree::new();
        for (i, token) in words(nodes, 3).into_iter().enumerate() {
            tree.push(TreeNode {
                token,
                parent: None,
                logits: i + 1 == nodes,
            });
        }
        self.pass(&tree, &[nodes - 1]);
    }

    fn chain(&mut self, nodes: usize, seed: i32) {
        let tree = TokenTree::chain(&words(nodes, seed), nodes - 1);
        self.pass(&tree, &(0..nodes).collect::<Vec<_>>());
    }

    fn note(&mut self) {
        self.mapped.push(self.hub.snapshot().kv.mapped_bytes);
    }

    fn steps(&mut self) {
        for _ in 0..5 {
            self.leap(512);
        }
        // Over the border, back, and so near to it that only masked cells lie beyond.
        self.chain(300, 7);
        self.oracle.truncate(105);
        self.note();
        self.chain(60, 11);
        self.leap(240);
        // No cells are free after it: rows move to the front, and the second page goes.
        self.leap(300);
        self.chain(20, 7);
    }
}

fn words(count: usize, seed: i32) -> Vec<TokenId> {
    let ids: Vec<_> = (0..count as i32).map(|i| 300 + (i * seed) % 4000).collect();
    tokens(&ids)
}

fn check_page_map(kv: &KvView, on_device: bool) {
    assert_eq!(kv.on_device, on_device);
    assert_eq!(kv.tokens_per_page, 2730);
    // 30 layers are three groups of eight, and six.
    assert_eq!(kv.pages.len(), 4);
    for group in &kv.pages {
        let mapped: Vec<_> = group.iter().map(|page| page.mapped).collect();
        assert_eq!(mapped, [true, false]);
    }
}

#[test]
fn pages_that_come_and_go_change_no_bits() {
    let whole = Run::new(Some(KvMemory::Whole));
    let two = Bytes::mib(2 * 30 * 2);
    assert!(whole.mapped.iter().all(|&mapped| mapped == two));
    for memory in [Some(KvMemory::Paged), None] {
        let paged = Run::new(memory);
        check_page_map(&paged.hub.snapshot().kv, memory.is_some());
        let pages: Vec<_> = paged
            .mapped
            .iter()
            .map(|mapped| mapped.0 * 2 / two.0)
            .collect();
        assert_eq!(pages, [1, 1, 1, 1, 1, 2, 1, 2, 2, 1, 1], "{memory:?}");
        assert_eq!(paged.rows.len(), whole.rows.len());
        for (i, (seen, expected)) in paged.rows.iter().zip(&whole.rows).enumerate() {
            assert!(same_bits(seen, expected), "pass {i} with {memory:?}");
        }
    }
}
