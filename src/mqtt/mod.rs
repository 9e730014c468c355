//! The MQTT packets that open a connection, decoded without sockets, clocks or copies.
