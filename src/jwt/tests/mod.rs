mod issuer;
mod keys;
mod many_keys;
mod verify;
mod weak_keys;
