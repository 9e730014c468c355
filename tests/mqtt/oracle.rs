//! The codec against rumqttc's, which shares no line with it, and against noise.

use bytes::BytesMut;
use mqtt_lb::testing::proto::mqtt::{
    Connack, Connect, Progress, Qos, Strictness, Version, connack, connect,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rumqttc::v5::mqttbytes as v5;
use rumqttc::{mqttbytes as v4, mqttbytes::v4::LastWill};

use crate::{LIMIT, PIPELINED};

/// Any text that MQTT can carry.
fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("U+0000", |&c| c != '\0'), len).prop_map(String::from_iter)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// rumqttc has no way to say "an empty one", so that both are either absent or not empty.
fn login() -> impl Strategy<Value = (String, String)> {
    (text(1..40), prop_oneof![Just(String::new()), text(1..40)])
}

fn will() -> impl Strategy<Value = (String, Vec<u8>, Qos, bool)> {
    let qos = prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    (text(0..60), payload(), qos, any::<bool>())
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(0..20), text(0..20)), 0..4)
}

prop_compose! {
    fn connect_properties()(
        session_expiry_interval in option::of(any::<u32>()),
        receive_maximum in option::of(1u16..),
        max_packet_size in option::of(1u32..),
        topic_alias_max in option::of(any::<u16>()),
        request_response_info in option::of(0u8..2),
        request_problem_info in option::of(0u8..2),
        user_properties in pairs(),
        auth in option::of((text(0..20), option::of(payload()))),
    ) -> v5::v5::ConnectProperties {
        let (method, data) = auth.unzip();
        v5::v5::ConnectProperties {
            session_expiry_interval,
            receive_maximum,
            max_packet_size,
            topic_alias_max,
            request_response_info,
            request_problem_info,
            user_properties,
            authentication_method: method,
            authentication_data: data.flatten().map(Into::into),
        }
    }
}

prop_compose! {
    fn will_properties()(
        delay_interval in option::of(any::<u32>()),
        payload_format_indicator in option::of(0u8..2),
        message_expiry_interval in option::of(any::<u32>()),
        content_type in option::of(text(0..20)),
        response_topic in option::of(text(0..20)),
        correlation_data in option::of(payload()),
        user_properties in pairs(),
    ) -> v5::v5::LastWillProperties {
        v5::v5::LastWillProperties {
            delay_interval,
            payload_format_indicator,
            message_expiry_interval,
            content_type,
            response_topic,
            correlation_data: correlation_data.map(Into::into),
            user_properties,
        }
    }
}

fn qos_v4(qos: Qos) -> v4::QoS {
    v4::qos(qos as u8).unwrap()
}

fn qos_v5(qos: Qos) -> v5::QoS {
    v5::qos(qos as u8).unwrap()
}

fn encode_v4(
    id: &str,
    clean_session: bool,
    keep_alive: u16,
    login: Option<&(String, String)>,
    will: Option<&(String, Vec<u8>, Qos, bool)>,
) -> BytesMut {
    let mut connect = v4::v4::Connect::new(id);
    connect.clean_session = clean_session;
    connect.keep_alive = keep_alive;
    connect.login = login.map(|(name, word)| v4::v4::Login::new(name, word));
    connect.last_will = will
        .map(|(topic, body, qos, retain)| LastWill::new(topic, &body[..], qos_v4(*qos), *retain));
    let mut bytes = BytesMut::new();
    connect.write(&mut bytes).unwrap();
    bytes
}

/// The packet of `len` bytes that starts `buf`, whatever follows.
fn complete(buf: &[u8], len: usize) -> Connect {
    let parsed = connect::parse(buf, usize::MAX, Strictness::Strict);
    let Ok(Progress::Complete(connect)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(connect.len, len);
    connect
}

/// What holds of any bytes: an incomplete packet needs more, and a verdict once given stands.
fn one_verdict(buf: &[u8]) {
    let mut verdict = None;
    for end in 0..=buf.len() {
        let parsed = connect::parse(&buf[..end], LIMIT, Strictness::Strict)
            .map_err(|refusal| refusal.reason);
        match (verdict, parsed) {
            (Some(verdict), parsed) => assert_eq!(parsed, verdict, "{end} bytes of {buf:x?}"),
            (None, Ok(Progress::Incomplete { need })) => assert!(need > end),
            (None, parsed) => verdict = Some(parsed),
        }
    }
    if let Some(Ok(Progress::Complete(connect))) = verdict {
        assert!(connect.len <= buf.len());
        assert!(connect.client_id.range().end <= connect.len);
    }
}

proptest! {
    #[test]
    fn what_rumqttc_writes_in_3_1_1(
        id in text(0..80),
        clean in any::<bool>(),
        keep_alive in any::<u16>(),
        login in option::of(login()),
        will in option::of(will()),
        behind in payload(),
    ) {
        let mut bytes = encode_v4(&id, clean, keep_alive, login.as_ref(), will.as_ref());
        let len = bytes.len();
        bytes.extend_from_slice(&behind);
        let connect = complete(&bytes, len);
        prop_assert_eq!(connect.version, Version::V311);
        prop_assert_eq!((connect.clean_start, connect.keep_alive), (clean, keep_alive));
        prop_assert_eq!(connect.client_id.of(&bytes), id);
        let (name, word) = login.unzip();
        prop_assert_eq!(connect.username.map(|span| span.of(&bytes).to_owned()), name);
        prop_assert_eq!(connect.password.is_some(), word.is_some_and(|word| !word.is_empty()));
        let seen = connect.will.map(|will| (will.topic.of(&bytes).to_owned(), will.qos, will.retain));
        prop_assert_eq!(seen, will.map(|(topic, _, qos, retain)| (topic, qos, retain)));
    }

    #[test]
    fn what_rumqttc_writes_in_5_0(
        id in text(0..80),
        clean_start in any::<bool>(),
        keep_alive in any::<u16>(),
        login in option::of((option::of(text(1..40)), option::of(text(1..40)))),
        will in option::of((will(), option::of(will_properties()))),
        properties in option::of(connect_properties()),
        behind in payload(),
    ) {
        let (session_expiry, auth_method) = properties.as_ref().map_or((None, false), |given| {
            (given.session_expiry_interval, given.authentication_method.is_some())
        });
        let packet = v5::v5::Connect { keep_alive, client_id: id.clone(), clean_start, properties };
        let (name, word) = login.unwrap_or_default();
        let login = v5::v5::Login {
            username: name.clone().unwrap_or_default(),
            password: word.clone().unwrap_or_default(),
        };
        let last_will = will.clone().map(|((topic, body, qos, retain), properties)| {
            v5::v5::LastWill::new(topic, body, qos_v5(qos), retain, properties)
        });
        let mut bytes = BytesMut::new();
        packet.write(&last_will, &Some(login), &mut bytes).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(&behind);

        let connect = complete(&bytes, len);
        prop_assert_eq!(connect.version, Version::V5);
        prop_assert_eq!((connect.clean_start, connect.keep_alive), (clean_start, keep_alive));
        prop_assert_eq!(connect.client_id.of(&bytes), id);
        prop_assert_eq!(connect.username.map(|span| span.of(&bytes).to_owned()), name);
        prop_assert_eq!(connect.password.is_some(), word.is_some());
        prop_assert_eq!((connect.session_expiry, connect.auth_method), (session_expiry, auth_method));
        let seen = connect.will.map(|will| (will.topic.of(&bytes).to_owned(), will.qos, will.retain));
        prop_assert_eq!(seen, will.map(|((topic, _, qos, retain), _)| (topic, qos, retain)));
    }

    #[test]
    fn the_connack_rumqttc_writes_in_5_0(
        session_present in any::<bool>(),
        server_keep_alive in option::of(any::<u16>()),
        assigned in option::of(text(0..40)),
        reference in option::of(text(0..40)),
        reason in option::of(text(0..40)),
        user_properties in pairs(),
        session_expiry_interval in option::of(any::<u32>()),
        receive_max in option::of(1u16..),
    ) {
        let packet = v5::v5::ConnAck {
            session_present,
            code: v5::v5::ConnectReturnCode::Success,
            properties: Some(v5::v5::ConnAckProperties {
                session_expiry_interval,
                receive_max,
                max_qos: Some(1),
                retain_available: Some(1),
                max_packet_size: Some(1),
                assigned_client_identifier: assigned.clone(),
                topic_alias_max: Some(10),
                reason_string: reason.clone(),
                user_properties,
                wildcard_subscription_available: Some(1),
                subscription_identifiers_available: Some(0),
                shared_subscription_available: Some(1),
                server_keep_alive,
                response_information: Some("r".to_owned()),
                server_reference: reference.clone(),
                authentication_method: None,
                authentication_data: None,
            }),
        };
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(PIPELINED);
        let parsed = connack::parse(&bytes, Version::V5, LIMIT);
        let Ok(Progress::Complete(seen)) = parsed else { panic!("{parsed:?}") };
        let Connack { assigned_client_id, server_reference, reason_string, .. } = seen;
        prop_assert_eq!((seen.len, seen.code), (len, 0));
        prop_assert_eq!(seen.session_present, session_present);
        prop_assert_eq!(seen.server_keep_alive, server_keep_alive);
        prop_assert_eq!(assigned_client_id.map(|span| span.of(&bytes).to_owned()), assigned);
        prop_assert_eq!(server_reference.map(|span| span.of(&bytes).to_owned()), reference);
        prop_assert_eq!(reason_string.map(|span| span.of(&bytes).to_owned()), reason);
    }

    #[test]
    fn noise_gets_one_verdict(bytes in vec(any::<u8>(), 0..200)) {
        one_verdict(&bytes);
        // And noise that starts out well, so as to get further.
        one_verdict(&[b"\x10\x40\x00\x04MQTT\x05\xC6", &bytes[..]].concat());
        one_verdict(&[b"\x10\x40\x00\x04MQTT\x04\xC6", &bytes[..]].concat());
    }

    #[test]
    fn damaged_packets_get_one_verdict(
        id in text(0..20),
        login in option::of(login()),
        will in option::of(will()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode_v4(&id, true, 60, login.as_ref(), will.as_ref());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        one_verdict(&bytes);
    }
}
