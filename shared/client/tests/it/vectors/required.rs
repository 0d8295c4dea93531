//! Which cases there must be, and their verdicts. None can go missing, or be turned round, by making the vectors anew.
//!
//! A line is a verdict and its cases.

/// In the file of every kind of token.
pub(super) const OF_ALL: &str = "
    accept: valid valid_unknown_claim valid_by_the_next_root
    wrong_algorithm: alg_none_without_signature alg_none_with_a_signature alg_hs256_keyed_with_pem alg_hs256_keyed_with_der
    wrong_algorithm: alg_of_the_other_kind_of_key alg_in_lower_case header_alg_altered
    bad_header: header_crit header_crit_empty header_jwk_embedded header_jku header_x5u header_x5c header_b64 header_unknown_member
    bad_header: header_alg_twice header_kid_twice header_typ_twice_by_escape header_without_alg header_without_kid header_without_typ
    bad_header: header_alg_not_a_text header_is_a_list
    wrong_type: typ_jwt typ_in_upper_case typ_with_application header_typ_altered
    bad_signature: header_order_altered payload_space_added payload_claim_added signature_with_a_byte_more signature_with_a_byte_before
    bad_signature: signature_a_byte_short signature_missing signature_first_bit_flipped signature_last_bit_flipped signature_all_zero
    bad_signature: signature_of_another_token signature_by_another_key
    malformed: base64_signature_padded base64_payload_padded base64_stray_bits base64_standard_alphabet base64_space_inside
    malformed: line_break_at_the_end two_parts four_parts five_parts json_serialization empty
    too_long: too_long
    bad_claims: claims_twice claims_twice_nested claims_in_a_list claims_not_json claims_not_utf8 claims_followed_by_more claims_empty
";

/// In the file of one kind: licenses, certificates, revocation lists, leases.
pub(super) const OF_EACH_KIND: [&str; 4] = [LICENSE, CERTIFICATE, REVOCATIONS, LEASE];

const LICENSE: &str = "
    accept: valid_without_expectations valid_without_end valid_ps256 valid_while_the_root_changes
    accept: valid_version_as_expected valid_version_later_than_expected
    old_license: version_before_expected
    unknown_root: next_root_not_pinned retired_root no_root signed_by_a_leaf header_kid_altered
    wrong_algorithm: rs256_claimed_for_ps256
    bad_signature: ps256_another_salt
    bad_signature: ps256_signature_under_rs256 payload_expires_at_altered payload_features_0_altered payload_features_1_altered
    bad_signature: payload_issued_at_altered payload_license_id_altered payload_overage_altered payload_seat_unit_altered
    bad_signature: payload_seats_total_altered payload_session_ttl_seconds_altered payload_starts_at_altered payload_tenant_id_altered
    bad_signature: payload_tier_altered payload_version_altered
    wrong_type: certificate_as_license revocations_as_license lease_as_license
    wrong_tenant: wrong_tenant tenant_in_upper_case
    wrong_license: wrong_license
    bad_claims: bad_seats_total_text bad_seats_total_negative bad_seats_total_fraction bad_seats_total_huge bad_features_text
    bad_claims: bad_seat_unit_unknown bad_expires_at_number bad_license_id_null claims_without_expires_at claims_without_features
    bad_claims: claims_without_issued_at claims_without_license_id claims_without_overage claims_without_seat_unit
    bad_claims: claims_without_seats_total claims_without_session_ttl_seconds claims_without_starts_at claims_without_tenant_id
    bad_claims: claims_without_tier claims_without_version
";

const CERTIFICATE: &str = "
    accept: window_first_second window_last_second window_first_second_of_skew window_last_second_of_skew
    certificate_not_yet_valid: window_before window_before_skew clock_at_zero window_far
    certificate_expired: window_after window_after_skew window_empty
    wrong_use: wrong_use wrong_use_in_upper_case
    unknown_root: next_root_not_pinned retired_root signed_by_the_leaf_itself signed_by_a_certified_leaf header_kid_altered
    wrong_type: license_as_certificate revocations_as_certificate lease_as_certificate
    bad_claims: jwk_kid_of_another_key jwk_x_of_another_key jwk_x_short jwk_x_padded jwk_an_rsa_key jwk_another_curve jwk_another_alg
    bad_claims: jwk_for_encryption jwk_without_kid jwk_a_text bad_exp_text bad_exp_fraction bad_nbf_negative claims_without_exp
    bad_claims: claims_without_iat claims_without_jwk claims_without_nbf claims_without_use
    bad_signature: payload_exp_altered payload_iat_altered payload_jwk_alg_altered payload_jwk_crv_altered payload_jwk_kid_altered
    bad_signature: payload_jwk_kty_altered payload_jwk_use_altered payload_jwk_x_altered payload_nbf_altered payload_use_altered
";

const REVOCATIONS: &str = "
    accept: valid_empty
    unknown_root: next_root_not_pinned retired_root signed_by_a_leaf header_kid_altered
    bad_signature: signed_by_a_leaf_as_root payload_iat_altered payload_revoked_0_kid_altered payload_revoked_0_revoked_at_altered
    bad_signature: payload_revoked_1_kid_altered payload_revoked_1_revoked_at_altered payload_version_altered
    wrong_type: license_as_revocations certificate_as_revocations lease_as_revocations
    bad_claims: bad_revoked_texts bad_revoked_without_kid bad_revoked_null bad_version_text claims_without_iat claims_without_revoked
    bad_claims: claims_without_version
";

const LEASE: &str = "
    accept: valid_least valid_certificates_passed_over valid_certified_twice valid_other_leaf_revoked valid_while_the_root_changes
    accept: window_first_second window_last_second window_first_second_of_skew window_last_second_of_skew certificate_first_second
    accept: certificate_same_end certificate_of_yesterday certificate_and_lease_in_skew valid_without_expectations valid_nonce_not_asked
    accept: valid_no_nonce
    unknown_leaf: chain_truncated chain_of_another_leaf chain_cut_short chain_tampered chain_by_retired_root
    unknown_leaf: chain_by_next_root_not_pinned chain_by_the_leaf_itself chain_by_another_leaf chain_kid_of_another_key
    unknown_leaf: chain_license_for_certificate chain_without_root signed_by_the_root header_kid_altered
    wrong_use: wrong_use
    leaf_revoked: revoked revoked_long_ago
    bad_revocation_list: revocations_by_a_leaf revocations_by_retired_root revocations_empty_text revocations_a_license
    wrong_type: license_as_lease certificate_as_lease revocations_as_lease
    not_yet_valid: window_before not_yet_valid window_later_nbf
    expired: window_after expired
    issued_outside_certificate: issued_before_certificate issued_at_certificates_end
    outlives_certificate: outlives_certificate certificate_in_last_second_of_skew
    certificate_not_yet_valid: certificate_not_yet_valid clock_at_zero
    certificate_expired: certificate_expired
    wrong_tenant: wrong_tenant
    wrong_license: wrong_license
    wrong_session: wrong_session
    wrong_hardware: wrong_hardware hardware_in_upper_case hardware_given_as_hash hardware_not_hashed
    wrong_nonce: wrong_nonce empty_nonce
    missing_nonce: missing_nonce null_nonce
    bad_claims: bad_nonce_number bad_seat_text bad_exp_fraction bad_exp_negative claims_without_exp claims_without_hardware_sha256
    bad_claims: claims_without_iat claims_without_license_id claims_without_nbf claims_without_seat claims_without_session_id
    bad_claims: claims_without_tenant_id
    bad_signature: payload_exp_altered payload_hardware_sha256_altered payload_iat_altered payload_license_id_altered
    bad_signature: payload_nbf_altered payload_nonce_altered payload_seat_altered payload_session_id_altered payload_tenant_id_altered
";

/// The cases of a list, with their verdicts.
pub(super) fn cases(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    list.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .flat_map(|(verdict, names)| names.split(' ').map(move |name| (name, verdict)))
}
