//! What the stream promises, as claims, on the disk that breaks its own promises.

mod by_hand;
mod crashes;
mod damage;
mod files;
mod garbage;
mod inspect;
mod rates;
mod writer;
