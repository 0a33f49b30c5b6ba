//! Which part of a network is trained, and so which part runs only once a film.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::paper::networks::PaperNetwork;

/// What is trained; everything before it stays as imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The layers behind the cut-off of the paper's Table 1, and the head.
    #[default]
    BehindCutOff,
    /// The head alone, on pooled features: the paper's "feature extraction via transfer learning". A hundredth of the
    /// work.
    Head,
}

impl Scope {
    /// What the fixed part makes of films: every tensor that is read behind it.
    pub(super) fn fixed(self, network: &PaperNetwork, normalised: Tensor<4>) -> Vec<Tensor<4>> {
        match self {
            Self::BehindCutOff => network.trunk(normalised),
            Self::Head => {
                let pooled = network.features(normalised);
                let [films, features] = pooled.dims();
                vec![pooled.reshape([films, features, 1, 1])]
            }
        }
    }

    /// What the trained part makes of that: logits.
    pub(super) fn trained(self, network: &PaperNetwork, fixed: Vec<Tensor<4>>) -> Tensor<2> {
        match self {
            Self::BehindCutOff => network.tail(fixed),
            Self::Head => {
                let pooled = fixed.into_iter().next().expect("one tensor was kept");
                let [films, features, _, _] = pooled.dims();
                network.head.forward(pooled.reshape([films, features]))
            }
        }
    }
}
