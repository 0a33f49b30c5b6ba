//! Layers and whole graphs, fused and as tract runs them, with every set of kernels that this processor has.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;

use super::kernels::{self, Kernels};
use super::lift::Lifted;
use super::load::{self, Interface, Loaded};
use super::network::{Draw, Graph, Spec, integer, integers, mobilenet_v2};
use super::pool::Pool;
use super::program::Wanted;

fn run(mut loaded: Loaded, shape: &[usize], values: &[f32]) -> Vec<Vec<f32>> {
    let outputs = loaded.network.run(shape, values, Wanted::MAX).expect("an answer");
    outputs.into_iter().map(|(_, values)| values).collect()
}

fn fuse(
    graph: &ModelProto,
    interface: &Interface<'_>,
    kernels: &'static Kernels,
    threads: usize,
    alone: bool,
) -> Loaded {
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    load::fused(graph.clone(), &Lifted::default(), interface, kernels, &pool, alone).expect("a network")
}

/// Runs `graph` as tract does and fused, with all kernels and one to four threads; `fused` layers must be found.
#[track_caller]
fn check(graph: Graph, shape: &[usize], outputs: &[&str], values: &[f32], fused: usize) {
    let graph = graph.finish();
    let interface = Interface { input: "image", shape, outputs };
    let expected = run(load::stock(&graph, &interface).expect("a network"), shape, values);
    for kernels in kernels::found() {
        let single = fuse(&graph, &interface, kernels, 1, false);
        assert_eq!(single.fused, fused, "layers of {shape:?}");
        let found = run(single, shape, values);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-4 * largest,
                    "{}: {found}, tract has {expected}, of {largest}, input {shape:?}",
                    kernels.name
                );
            }
        }
        for threads in 2..=4 {
            let shared = run(fuse(&graph, &interface, kernels, threads, threads == 2), shape, values);
            assert!(shared == found, "{} with {threads} threads gives another result", kernels.name);
        }
    }
}

fn values(draw: &mut Draw, shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|_| 2.0 * draw.signed()).collect()
}

#[test]
fn blocks_of_any_shape_give_what_tract_gives() {
    let mut draw = Draw(21);
    for round in 0..24 {
        let inputs = 1 + draw.below(40);
        let outputs = if draw.below(2) == 0 { inputs } else { 1 + draw.below(40) };
        let (stride, t) = (1 + draw.below(2), [1, 2, 3, 6][draw.below(4)]);
        let shape = [1, inputs, 1 + draw.below(30), 1 + draw.below(30)];
        let mut g = Graph::new(round, draw.below(2) == 0);
        g.input("image", &shape);
        let block = g.block("block", "image", [inputs, outputs], stride, t);
        let [_, _, height, width] = shape;
        g.output(&block, &[1, outputs, height.div_ceil(stride), width.div_ceil(stride)]);
        // Two changes of layout around the block.
        check(g, &shape, &[&block], &values(&mut draw, &shape), 3);
    }
}

#[test]
fn a_block_too_large_for_the_cache_is_computed_in_bands() {
    for stride in [1, 2] {
        let shape = [1, 16, 61, 83];
        let mut g = Graph::new(5, false);
        g.input("image", &shape);
        let block = g.block("block", "image", [16, 16], stride, 6);
        g.output(&block, &[1, 16, 61usize.div_ceil(stride), 83usize.div_ceil(stride)]);
        check(g, &shape, &[&block], &values(&mut Draw(22), &shape), 3);
    }
}

#[test]
fn stems_of_any_shape_give_what_tract_gives() {
    let mut draw = Draw(23);
    for round in 0..16 {
        let (inputs, outputs, stride) = (1 + draw.below(4), 1 + draw.below(40), 1 + draw.below(2));
        let shape = [1, inputs, 1 + draw.below(40), 1 + draw.below(40)];
        let mut g = Graph::new(round, false);
        g.input("image", &shape);
        let stem = g.convolution("stem", "image", [inputs, outputs], 3, stride, 1);
        let stem = if draw.below(2) == 0 { g.relu6(&stem) } else { g.node("Relu", "relu", &[&stem], vec![]) };
        g.output(&stem, &[1, outputs, shape[2].div_ceil(stride), shape[3].div_ceil(stride)]);
        check(g, &shape, &[&stem], &values(&mut draw, &shape), 2);
    }
}

#[test]
fn last_convolution_pooling_and_dense_layers_give_what_tract_gives() {
    let mut draw = Draw(24);
    for round in 0..12 {
        let (inputs, outputs, hidden) = (1 + draw.below(50), 1 + draw.below(90), 1 + draw.below(70));
        let shape = [1, inputs, 1 + draw.below(9), 1 + draw.below(9)];
        let mut g = Graph::new(round, draw.below(2) == 0);
        g.input("image", &shape);
        let last = g.convolution("last", "image", [inputs, outputs], 1, 1, 1);
        let last = g.relu6(&last);
        let pooled = g.node("GlobalAveragePool", "pooled", &[&last], vec![]);
        let flat = g.node("Flatten", "flat", &[&pooled], vec![integer("axis", 1)]);
        let weights = g.weights("W", &[outputs, hidden], 0.3);
        let bias = g.weights("B", &[hidden], 0.3);
        let there = g.node("Gemm", "there", &[&flat, &weights, &bias], vec![]);
        let rows = g.weights("R", &[1 + draw.below(6), hidden], 1.0);
        let many = g.node("Mul", "many", &[&there, &rows], vec![]);
        let back = g.node("Gemm", "back", &[&many, &weights], vec![integer("transB", 1)]);
        g.output(&back, &[1]);
        g.output(&there, &[1]);
        let graph = g;
        check_loosely_typed(graph, &shape, &[&there, &back], &values(&mut draw, &shape));
    }
}

/// As [`check`], for outputs whose declared shape says nothing.
#[track_caller]
fn check_loosely_typed(mut g: Graph, shape: &[usize], outputs: &[&str], values: &[f32]) {
    g.graph.output.iter_mut().for_each(|output| output.r#type = None);
    // Planes to pixels, convolution, pooling and two dense layers.
    check(g, shape, outputs, values, 5);
}

#[test]
fn a_value_that_others_read_too_stays_readable() {
    let shape = [1, 8, 9, 7];
    let mut g = Graph::new(7, false);
    g.input("image", &shape);
    let first = g.block("first", "image", [8, 8], 1, 6);
    let second = g.block("second", &first, [8, 12], 2, 6);
    let other = g.node("Sigmoid", "other", &[&first], vec![]);
    g.output(&second, &[1, 12, 5, 4]);
    g.output(&other, &shape);
    // From planes once, two blocks, and to planes for each reader outside.
    check(g, &shape, &[&second, &other], &values(&mut Draw(25), &shape), 5);
}

#[test]
fn a_value_inside_a_block_that_is_read_outside_keeps_the_block_apart() {
    let shape = [1, 8, 9, 7];
    for inside in ["block.expand.relu6", "block.filter", "block.filter.relu6"] {
        let mut g = Graph::new(8, false);
        g.input("image", &shape);
        let block = g.block("block", "image", [8, 8], 1, 6);
        let other = g.node("Sigmoid", "other", &[inside], vec![]);
        g.output(&block, &shape);
        g.output(&other, &[1, 48, 9, 7]);
        let graph = g.finish();
        let interface = Interface { input: "image", shape: &shape, outputs: &[&block, &other] };
        let values = values(&mut Draw(26), &shape);
        let expected = run(load::stock(&graph, &interface).expect("a network"), &shape, &values);
        let found = run(fuse(&graph, &interface, kernels::found()[0], 1, true), &shape, &values);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() <= 1e-4, "{inside}: {found}, tract has {expected}");
        }
    }
}

#[test]
fn convolutions_of_another_kind_stay_with_tract() {
    let cases: [(&str, usize, usize, Vec<_>); 5] = [
        ("5×5", 5, 8, vec![]),
        ("dilated", 3, 8, vec![integers("dilations", &[2, 2])]),
        ("padded on one side", 3, 8, vec![integers("pads", &[0, 0, 1, 1])]),
        ("in groups of two", 3, 4, vec![]),
        ("with two strides", 3, 8, vec![integers("strides", &[1, 2])]),
    ];
    for (kind, kernel, group, changes) in cases {
        // Seen where the test fails.
        println!("{kind}");
        let shape = [1, 8, 12, 11];
        let mut g = Graph::new(9, false);
        g.input("image", &shape);
        let wide = g.convolution("odd", "image", [8, 8], kernel, 1, group);
        let attributes = &mut g.graph.node.iter_mut().find(|n| n.op_type == "Conv").expect("it").attribute;
        for change in changes {
            attributes.retain(|attribute| attribute.name != change.name);
            attributes.push(change);
        }
        let clipped = g.relu6(&wide);
        let narrow = g.convolution("narrow", &clipped, [8, 5], 1, 1, 1);
        g.output(&narrow, &[1]);
        g.graph.output[0].r#type = None;
        // The 1×1 convolution with its two changes of layout, and nothing else.
        check(g, &shape, &[&narrow], &values(&mut Draw(27), &shape), 3);
    }
}

#[test]
fn a_batch_of_two_is_left_to_tract() {
    let shape = [2, 8, 12, 11];
    let mut g = Graph::new(9, false);
    g.input("image", &shape);
    let block = g.block("block", "image", [8, 8], 1, 6);
    g.output(&block, &shape);
    let interface = Interface { input: "image", shape: &shape, outputs: &[&block] };
    let pool = Arc::new(Pool::new(1).expect("a pool"));
    let graph = g.finish();
    let error = load::fused(graph.clone(), &Lifted::default(), &interface, kernels::found()[0], &pool, true)
        .map(drop)
        .expect_err("a refusal");
    assert!(format!("{error:#}").contains("[1, 8, height, width]"), "{error:#}");
    assert!(load::stock(&graph, &interface).is_ok());
}

#[test]
fn damaged_graphs_are_errors_and_never_panics() {
    let spec = Spec { multiplier: 0.35, height: 32, width: 32, hidden: [6, 5], ..Spec::default() };
    let whole = mobilenet_v2(&spec);
    let interface = Interface { input: "image", shape: &spec.shape(), outputs: &["logits", "maps", "features"] };
    let pool = Arc::new(Pool::new(1).expect("a pool"));
    let mut draw = Draw(28);
    let mut refused = 0;
    for round in 0..120 {
        let mut model = whole.clone();
        let graph = model.graph.as_mut().expect("a graph");
        let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
        match round % 8 {
            0 => drop(graph.node.remove(draw.below(nodes))),
            1 => drop(graph.initializer.remove(draw.below(tensors))),
            2 => graph.initializer[draw.below(tensors)].raw_data.truncate(3),
            3 => graph.initializer[draw.below(tensors)].dims = vec![i64::MAX, -1, 7],
            4 => graph.node[draw.below(nodes)]
                .attribute
                .iter_mut()
                .for_each(|a| a.ints.iter_mut().for_each(|i| *i = -*i)),
            5 => graph.node[draw.below(nodes)].input.clear(),
            6 => graph.node[draw.below(nodes)].output.push("another".to_owned()),
            _ => graph.initializer[draw.below(tensors)].dims = vec![],
        }
        let what = format!("round {round}");
        let fused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            super::recognise::recognise(
                model.graph.clone().expect("a graph"),
                &Lifted::default(),
                kernels::found()[0],
                &pool,
            )
        }));
        assert!(fused.is_ok(), "{what} panicked");
        refused +=
            usize::from(load::fused(model, &Lifted::default(), &interface, kernels::found()[0], &pool, true).is_err());
    }
    assert!(refused > 30, "only {refused} were refused");
    let mut empty = whole.clone();
    empty.graph = None;
    assert!(load::fused(empty, &Lifted::default(), &interface, kernels::found()[0], &pool, true).is_err());
}

#[test]
fn weights_that_layers_share_are_kept_once() {
    let spec = Spec { multiplier: 0.35, height: 32, width: 32, hidden: [6, 5], ..Spec::default() };
    let graph = mobilenet_v2(&spec).graph.expect("a graph");
    let pool = Pool::new(2).expect("a pool");
    let left = super::recognise::recognise(graph, &Lifted::default(), kernels::found()[0], &pool).graph;
    let bytes: usize = left.initializer.iter().map(|tensor| tensor.raw_data.len()).sum();
    // The last layer's weights, transposed for Grad-CAM, two shapes and three numbers.
    assert!(bytes < 200, "{bytes} bytes of constants are left: {:?}", left.initializer);
}

#[test]
fn a_pool_runs_every_part_once_and_survives_a_panic() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for threads in 1..=4 {
        let pool = Pool::new(threads).expect("threads");
        assert_eq!(pool.threads(), threads);
        for parts in [0, 1, 2, 7, 100] {
            let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            pool.run(parts, &|part| {
                counts[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads, {parts} parts");
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(9, &|part| assert!(part != 5, "the fifth part fails"));
        }));
        assert!(panicked.is_err());
        let mut values = vec![0.0; 10];
        pool.run_on_parts(&mut values, 3, &|part| [0, 2, 2, 10][part], &|part, own| own.fill(part as f32 + 1.0));
        assert_eq!(values, [1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
    }
}

#[test]
fn what_is_lifted_out_of_a_file_is_the_same_when_put_back() {
    use prost::Message;
    for half in [false, true] {
        let spec = Spec { multiplier: 0.35, height: 32, width: 32, hidden: [50, 60], half, ..Spec::default() };
        let model = mobilenet_v2(&spec);
        let file = model.encode_to_vec();
        let (rest, lifted) = Lifted::out_of(&file);
        assert!(10 * rest.len() < file.len(), "{} of {} bytes are left", rest.len(), file.len());
        let mut found = load::parse(&rest).expect("a network");
        lifted.put_back(found.graph.as_mut().expect("a graph"));
        assert_eq!(found, model);
    }
}

#[test]
fn a_file_that_cannot_be_walked_is_left_to_the_parser() {
    use prost::Message;
    let spec = Spec { multiplier: 0.35, height: 32, width: 32, hidden: [50, 60], ..Spec::default() };
    let mut model = mobilenet_v2(&spec);
    let file = model.encode_to_vec();
    for end in (1..file.len()).step_by(997) {
        let (rest, _) = Lifted::out_of(&file[..end]);
        assert_eq!(load::parse(&rest).is_ok(), load::parse(&file[..end]).is_ok(), "cut after {end} bytes");
    }
    let graph = model.graph.as_mut().expect("a graph");
    let twice = graph.initializer.iter().max_by_key(|tensor| tensor.raw_data.len()).expect("a constant").clone();
    graph.initializer.push(twice);
    let file = model.encode_to_vec();
    assert!(Lifted::out_of(&file).0.len() == file.len(), "a name that stands twice");
}
