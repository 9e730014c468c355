mod issuer;
mod keys;
mod verify;
mod weak_keys;
