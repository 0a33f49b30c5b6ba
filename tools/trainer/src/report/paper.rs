//! The tables of Apostolopoulos & Mpesiana 2020 as printed, and where they do not agree with each other.
//!
//! *Covid-19: automatic detection from X-ray images utilizing transfer learning with convolutional neural networks*,
//! Phys Eng Sci Med 43 (2020) 635–640, section "Results". Nothing is corrected here.

use serde::Serialize;

use crate::paper::networks::Architecture;

/// How the paper trained: rows, columns, epochs, batch, folds.
pub(super) const HEIGHT: usize = 200;
/// Columns of the input.
pub(super) const WIDTH: usize = 266;
/// Times that every film is learned from.
pub(super) const EPOCHS: usize = 10;
/// Films a step.
pub(super) const BATCH: usize = 64;
/// Of cross-validation.
pub(super) const FOLDS: usize = 10;

/// Percentages of Table 2 or Table 5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentages {
    /// Which network.
    pub(super) network: Architecture,
    /// "Accuracy 2-class (%)"
    pub(super) accuracy_2: f64,
    /// "Accuracy 3-class (%)"
    pub(super) accuracy_3: f64,
    /// "Sensitivity (%)"
    pub(super) sensitivity: f64,
    /// "Specificity (%)"
    pub(super) specificity: f64,
    /// Whether the paper marks it with an asterisk: "not meaningful".
    pub(super) starred: bool,
}

/// Films by predicted (rows) and actual class (columns): Covid-19, pneumonia, normal.
pub(super) type Confusion = [[usize; 3]; 3];

/// A row of Table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Which network.
    pub(super) network: Architecture,
    /// Covid-19 called Covid-19.
    pub(super) tp: usize,
    /// Others called Covid-19.
    pub(super) fp: usize,
    /// Others not called Covid-19.
    pub(super) tn: usize,
    /// Covid-19 not called so.
    pub(super) fn_: usize,
}

const fn row(
    network: Architecture,
    two: f64,
    three: f64,
    sensitivity: f64,
    specificity: f64,
    starred: bool,
) -> Percentages {
    Percentages { network, accuracy_2: two, accuracy_3: three, sensitivity, specificity, starred }
}

/// Table 2, "Results of the CNNs used for transfer learning" (Dataset_1).
pub(super) const TABLE_2: [Percentages; 5] = [
    row(Architecture::Vgg19, 98.75, 93.48, 92.85, 98.75, false),
    row(Architecture::MobileNetV2, 97.40, 92.85, 99.10, 97.09, false),
    row(Architecture::InceptionV3, 86.13, 92.85, 12.94, 99.70, true),
    row(Architecture::Xception, 85.57, 92.85, 0.08, 99.99, true),
    row(Architecture::InceptionResNetV2, 84.38, 92.85, 0.01, 99.83, true),
];

/// Table 3, "Confusion matrix of the two best CNNs" (Dataset_1).
pub(super) const TABLE_3: [(Architecture, Confusion); 2] = [
    (Architecture::MobileNetV2, [[222, 8, 27], [2, 495, 27], [0, 1, 646]]),
    (Architecture::Vgg19, [[222, 8, 7], [3, 460, 26], [13, 36, 667]]),
];

/// Table 4, TP, FP, TN and FN "related to the Covid-19 class, for the best performing CNNs" (Dataset_1).
pub(super) const TABLE_4: [Counts; 2] = [
    Counts { network: Architecture::Vgg19, tp: 208, fp: 15, tn: 1189, fn_: 16 },
    Counts { network: Architecture::MobileNetV2, tp: 222, fp: 35, tn: 1169, fn_: 2 },
];

/// Table 5, "Accuracy, sensitivity, and specificity of MobileNet v2 on Dataset_2".
pub(super) const TABLE_5: Percentages = row(Architecture::MobileNetV2, 96.78, 94.72, 98.66, 96.46, false);

/// Table 6, "Confusion matrix of the classification of Dataset_2 by MobileNet v2".
pub(super) const TABLE_6: (Architecture, Confusion) =
    (Architecture::MobileNetV2, [[221, 19, 24], [2, 472, 17], [1, 13, 673]]);

/// Films of Dataset_1 in the text: Covid-19, pneumonia, normal.
pub(super) const DATASET_1: [usize; 3] = [224, 700, 504];
/// Films of Dataset_2 in the text.
pub(super) const DATASET_2: [usize; 3] = [224, 714, 504];

/// Films of each actual class.
pub(super) fn columns(matrix: &Confusion) -> [usize; 3] {
    [0, 1, 2].map(|actual| matrix.iter().map(|row| row[actual]).sum())
}

/// TP, FP, TN and FN of Covid-19.
pub(super) fn counts(network: Architecture, matrix: &Confusion) -> Counts {
    let total: usize = matrix.iter().flatten().sum();
    let tp = matrix[0][0];
    let fp = matrix[0][1] + matrix[0][2];
    let fn_ = matrix[1][0] + matrix[2][0];
    Counts { network, tp, fp, tn: total - tp - fp - fn_, fn_ }
}

fn percent(hits: usize, of: usize) -> f64 {
    100.0 * hits as f64 / of as f64
}

/// Whether `printed` is `exact` rounded or cut to two places.
fn agrees(printed: f64, exact: f64) -> bool {
    (printed - exact).abs() < 0.0101
}

fn right(matrix: &Confusion) -> usize {
    (0..3).map(|class| matrix[class][class]).sum()
}

/// Where the paper's numbers do not agree with each other, each a sentence with the arithmetic.
pub(super) fn contradictions() -> Vec<String> {
    let mut found = Vec::new();
    let total: usize = DATASET_1.iter().sum();
    found.push(format!(
        "The abstract and the introduction speak of 1427 images; 224 + 700 + 504 = {total}, and the tables count {total}."
    ));
    found.push(format!(
        "“A black background of 1:1.5 ratio” is said to give “a perfect rescale to 200×266”, which is 1:{:.2}.",
        WIDTH as f64 / HEIGHT as f64
    ));
    for (table, (network, matrix), said) in
        [(3, TABLE_3[0], DATASET_1), (3, TABLE_3[1], DATASET_1), (6, TABLE_6, DATASET_2)]
    {
        let (sums, title) = (columns(&matrix), network.title());
        if sums[1] == said[2] && sums[2] == said[1] {
            found.push(format!(
                "Table {table}, {title}: the column “Actual pneumonia” sums to {} and “Actual normal” to {}, where the text \
                 has {} pneumonia and {} normal: the two names are exchanged.",
                sums[1], sums[2], said[1], said[2]
            ));
        }
        if sums[0] != said[0] {
            found.push(format!(
                "Table {table}, {title}: the column “Actual Covid-19” sums to {} = {} + {} + {}, where the data set has {}; \
                 the whole sums to {} instead of {}.",
                sums[0],
                matrix[0][0],
                matrix[1][0],
                matrix[2][0],
                said[0],
                sums.iter().sum::<usize>(),
                said.iter().sum::<usize>()
            ));
        }
    }
    for printed in TABLE_4 {
        let Some((_, matrix)) = TABLE_3.iter().find(|(network, _)| *network == printed.network) else { continue };
        let counted = counts(printed.network, matrix);
        if counted != printed {
            found.push(format!(
                "Tables 3 and 4, {}: the matrix has TP {}, FP {}, FN {}; Table 4 prints TP {}, FP {}, FN {}.",
                printed.network.title(),
                counted.tp,
                counted.fp,
                counted.fn_,
                printed.tp,
                printed.fp,
                printed.fn_
            ));
        }
    }
    for printed in TABLE_2 {
        let Some(c) = TABLE_4.iter().find(|c| c.network == printed.network) else { continue };
        let exact = [
            ("sensitivity", printed.sensitivity, c.tp, c.tp + c.fn_),
            ("specificity", printed.specificity, c.tn, c.tn + c.fp),
            ("2-class accuracy", printed.accuracy_2, c.tp + c.tn, c.tp + c.fp + c.tn + c.fn_),
        ];
        for (what, shown, hits, of) in exact {
            if !agrees(shown, percent(hits, of)) {
                found.push(format!(
                    "Tables 2 and 4, {}: the {what} is printed as {shown:.2} %, the counts give {hits}/{of} = {:.2} %.",
                    printed.network.title(),
                    percent(hits, of)
                ));
            }
        }
    }
    for (two, three, (network, matrix)) in
        [(TABLE_2[1], (2, 3), TABLE_3[0]), (TABLE_2[0], (2, 3), TABLE_3[1]), (TABLE_5, (5, 6), TABLE_6)]
    {
        let (tables, all) = (three, matrix.iter().flatten().sum::<usize>());
        let c = counts(network, &matrix);
        let exact = [
            ("3-class accuracy", two.accuracy_3, right(&matrix), all),
            ("2-class accuracy", two.accuracy_2, c.tp + c.tn, all),
            ("sensitivity", two.sensitivity, c.tp, c.tp + c.fn_),
            ("specificity", two.specificity, c.tn, c.tn + c.fp),
        ];
        for (what, shown, hits, of) in exact {
            if !agrees(shown, percent(hits, of)) {
                found.push(format!(
                    "Tables {} and {}, {}: the {what} is printed as {shown:.2} %, the matrix gives {hits}/{of} = {:.2} %.",
                    tables.0,
                    tables.1,
                    network.title(),
                    percent(hits, of)
                ));
            }
        }
    }
    let same = TABLE_2.iter().filter(|row| row.accuracy_3 == 92.85).count();
    found.push(format!(
        "Table 2: {same} of five networks have the same 3-class accuracy, 92.85 %, which is also VGG19's sensitivity; three of \
         them are said to miss nearly all Covid-19 films, {} of {total}, so that at most {:.2} % could be right.",
        DATASET_1[0],
        percent(total - DATASET_1[0] + 29, total)
    ));
    let others = total - DATASET_1[0];
    found.push(format!(
        "Table 2, Xception: a sensitivity of 0.08 % is {:.2} of 224 films, and one error in {others} films would already make \
         the specificity {:.2} %, not 99.99 %. With 18 Covid-19 films found (a share of 0.08) and no error among the others \
         the printed 2-class accuracy comes out: {:.2} %.",
        224.0 * 0.0008,
        percent(others - 1, others),
        percent(18 + others, total)
    ));
    found.push(format!(
        "Table 2, Inception-ResNet v2: likewise a share of 0.01 (3 of 224 films) and a specificity of 1202/{others} = {:.2} % \
         give the printed {:.2} %; a sensitivity of 0.01 % cannot be.",
        percent(1202, others),
        percent(3 + 1202, total)
    ));
    found.push(
        "The text says that “MobileNet v2 outperforms VGG19 in terms of specificity”; Table 2 has 97.09 % against 98.75 %. It \
         is the sensitivity that is higher."
            .into(),
    );
    found.push(
        "The abstract's “best accuracy, sensitivity, and specificity” of 96.78 %, 98.66 % and 96.46 % are MobileNetV2's on \
         Dataset_2 (Table 5); Table 2 has higher values of each."
            .into(),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_sum_to_what_was_read_off_the_paper() {
        assert_eq!(columns(&TABLE_3[0].1), [224, 504, 700]);
        assert_eq!(columns(&TABLE_3[1].1), [238, 504, 700]);
        assert_eq!(columns(&TABLE_6.1), [224, 504, 714]);
        assert_eq!(counts(Architecture::MobileNetV2, &TABLE_3[0].1), TABLE_4[1]);
        assert_eq!(counts(Architecture::Vgg19, &TABLE_3[1].1).fn_, TABLE_4[0].fn_);
    }

    #[test]
    fn every_contradiction_that_is_known_is_found_and_what_agrees_is_not_named() {
        let found = contradictions().join("\n");
        for known in [
            "= 1428",
            "Table 3, MobileNetV2: the column “Actual pneumonia” sums to 504 and “Actual normal” to 700",
            "Table 3, VGG19: the column “Actual Covid-19” sums to 238 = 222 + 3 + 13",
            "Table 6, MobileNetV2: the column “Actual pneumonia” sums to 504 and “Actual normal” to 714",
            "VGG19: the matrix has TP 222, FP 15, FN 16; Table 4 prints TP 208, FP 15, FN 16",
            "VGG19: the 2-class accuracy is printed as 98.75 %, the counts give 1397/1428 = 97.83 %",
            "MobileNetV2: the 3-class accuracy is printed as 92.85 %, the matrix gives 1363/1428 = 95.45 %",
            "MobileNetV2: the 2-class accuracy is printed as 96.78 %, the matrix gives 1396/1442 = 96.81 %",
            "4 of five networks have the same 3-class accuracy",
        ] {
            assert!(found.contains(known), "{known}\n{found}");
        }
        assert!(!found.contains("MobileNetV2: the sensitivity is printed"), "{found}");
        assert!(!found.contains("Tables 2 and 4, MobileNetV2"), "{found}");
    }
}
