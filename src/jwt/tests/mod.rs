mod issuer;
mod keys;
mod verify;
