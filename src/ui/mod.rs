//! What the person in front of the panel sees: screens, laid out for any size, drawn on any `DrawTarget`.
//!
//! A screen becomes a [`Scene`] first (areas, texts, signs), which tests can look into, and then pixels.
//! Nothing here decides anything, reads a clock or knows a panel.

mod aim;
mod area;
mod canvas;
mod film;
mod measure;
mod ready;
mod scene;
mod screen;
mod shape;
mod sheet;
mod sign;
pub mod text;
pub mod theme;
mod update;
mod verdict;
mod views;
mod words;

pub use scene::{Item, Scene, TextItem, TextLine};
pub use screen::Screen;
pub use sign::Sign;
pub use verdict::{Film, VerdictScreen};
pub use views::*;
