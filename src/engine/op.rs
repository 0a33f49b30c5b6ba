//! What tract sees of a fused layer: one operator of one input and one output.
#![expect(unsafe_code, reason = "outputs are not filled with zeros before a layer writes them")]

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tract_core::internal::*;
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::{Expansion, InferenceResult, Solver, TensorProxy, expand};

use super::kernels::ALIGN;
use super::layer::Layer;
use super::pool::Pool;

/// A layer as tract's operator.
#[derive(Clone)]
pub(super) struct FusedOp {
    layer: Arc<dyn Layer>,
    pool: Arc<Pool>,
}

impl FusedOp {
    /// The operator for a model whose types are not yet known.
    pub(super) fn wrap(layer: Arc<dyn Layer>, pool: Arc<Pool>) -> Box<dyn InferenceOp> {
        expand(Self { layer, pool })
    }
}

impl Expansion for FusedOp {
    fn name(&self) -> StaticName {
        self.layer.name().into()
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let [input] = inputs else { bail!("{} inputs, expected 1", inputs.len()) };
        let [output] = outputs else { bail!("{} outputs, expected 1", outputs.len()) };
        solver.equals(&input.datum_type, f32::datum_type())?;
        solver.equals(&output.datum_type, f32::datum_type())?;
        solver.given(&input.shape, move |solver, shape| {
            let shape = shape.iter().map(|d| Ok(d.to_usize()?)).collect::<TractResult<Vec<_>>>()?;
            let found: TVec<TDim> = self.layer.output_shape(&shape)?.iter().map(ToDim::to_dim).collect();
            solver.equals(&output.shape, found)
        })
    }
}

impl fmt::Debug for FusedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.layer.name())
    }
}

impl PartialEq for FusedOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layer, &other.layer)
    }
}

impl Eq for FusedOp {}

impl Hash for FusedOp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.layer).cast::<()>().hash(state);
    }
}

impl Op for FusedOp {
    fn name(&self) -> StaticName {
        self.layer.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for FusedOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = input.shape();
        let values = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = unwritten(&self.layer.output_shape(shape)?)?;
        self.layer.run(values, shape, output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, &self.pool)?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for FusedOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("{} inputs, expected 1", inputs.len()) };
        let Some(shape) = input.shape.as_concrete() else { bail!("an input of unknown size") };
        ensure!(input.datum_type == f32::datum_type(), "an input of {:?}, expected f32", input.datum_type);
        Ok(tvec!(f32::fact(&self.layer.output_shape(shape)?)))
    }
}

/// A tensor of f32 whose every element the caller writes before anything reads it.
///
/// # Errors
/// When there is no memory for it.
fn unwritten(shape: &[usize]) -> TractResult<Tensor> {
    debug_assert_eq!(f32::datum_type().size_of(), 4);
    // SAFETY: every bit pattern is an f32, and the layers write the whole tensor before they hand it on.
    unsafe { Tensor::uninitialized_aligned::<f32>(shape, 4 * ALIGN) }
}
