//! `limits.max_connections_per_username` and `limits.quotas`.

use crate::{SMALLEST, good, tail};

#[test]
fn quotas_in_their_order() {
    assert!(good(SMALLEST).quotas.is_empty());
    let config = good(&format!(
        "{SMALLEST}limits:\n  quotas:\n    - {{ name: tenant, key: \"${{sni}}/x\", max_connections: 7 }}\n    \
         - {{ name: site, key: \"${{jwt.site}}\", max_connections: 1 }}\n  \
         max_connections_per_username: 3\n"
    ));
    let quotas: Vec<_> = config
        .quotas
        .iter()
        .map(|quota| (&*quota.name, quota.key.to_string(), quota.max_connections.get()))
        .collect();
    assert_eq!(
        quotas,
        [
            ("max_connections_per_username", "${username}".to_owned(), 3),
            ("tenant", "${sni}/x".to_owned(), 7),
            ("site", "${jwt.site}".to_owned(), 1),
        ]
    );
    assert_eq!(format!("{:?}", good(config.effective()).quotas), format!("{:?}", config.quotas));
}

#[test]
fn invalid_quotas() {
    for (quota, wanted) in [
        (
            "{}",
            &[
                "quotas[0].name: is required; allowed: a name",
                "quotas[0].key: is required; allowed: text with variables such as ${sni}",
                "quotas[0].max_connections: is required; allowed: a whole number from 1 to 4294967295",
            ][..],
        ),
        (
            "{ name: q, key: username, max_connections: 1 }",
            &["quotas[0].key: \"username\" has no variable; allowed: text with variables such as \
               ${sni}"],
        ),
        (
            "{ name: q, key: \"${sni}\", max_connections: 0 }",
            &[
                "quotas[0].max_connections: \"0\" is out of range; allowed: a whole number from 1 to \
               4294967295",
            ],
        ),
        (
            "{ name: max_connections_per_username, key: \"${sni}\", max_connections: 1 }",
            &["quotas[0].name: \"max_connections_per_username\" is the name of a limit; allowed: \
               another name"],
        ),
    ] {
        let said = tail(&format!("limits: {{ quotas: [{quota}] }}\n"));
        let said: Vec<_> =
            said.iter().map(|line| line.split_once(": limits.").unwrap().1).collect();
        assert_eq!(said, wanted, "{quota}");
    }
    let twice = "{ name: q, key: \"${sni}\", max_connections: 1 }";
    let said = tail(&format!("limits: {{ quotas: [{twice}, {twice}] }}\n"));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("limits.quotas[1].name: \"q\" is taken at line 10"), "{said:?}");
}
