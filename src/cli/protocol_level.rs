/// Parses an argument with a version of MQTT, or its protocol level.
pub(super) fn protocol_level(text: &str) -> Result<u8, &'static str> {
    match text {
        "3" | "3.1" => Ok(3),
        "4" | "3.1.1" => Ok(4),
        "5" | "5.0" => Ok(5),
        _ => Err("allowed: 3.1, 3.1.1 and 5"),
    }
}
