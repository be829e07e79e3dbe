//! Images that a killed import left: each says whose it is, as a box in the making does.

use super::metadata::IMPORT;
use crate::boxes::maker::{Life, Maker};
use crate::incus::{self, Client};

/// The property that tells whose import an image is of, so that what a killed one left is known.
pub fn mark() -> String {
    format!("{IMPORT}={}", Maker::this())
}

/// Deletes the images that imports left whose makers are dead; those that somebody gave a name stay.
///
/// # Errors
/// Everything in [`incus::Error`].
pub fn sweep(client: &mut Client) -> Result<(), incus::Error> {
    for image in client.images()? {
        let maker = image.properties.get(IMPORT).and_then(|mark| Maker::parse(mark));
        let is_left = maker.is_some_and(|maker| maker.life() == Life::Ended);
        if is_left && image.aliases.is_empty() {
            client.delete_image(&image.fingerprint)?;
        }
    }
    Ok(())
}
