//! Values for encryption types 17 and 18: RFC 3962 appendix B, and krb5's test suite where the RFC has none.

use super::super::cts::OneWay;
use super::super::derive::dk;
use super::super::{CryptoError, Etype, Key};
use super::{hex, key};
use Etype::{Aes128CtsHmacSha1_96 as Aes128, Aes256CtsHmacSha1_96 as Aes256};

#[test]
fn passwords_give_the_keys_of_rfc_3962() {
    let equals = "X".repeat(64);
    let exceeds = "X".repeat(65);
    let athena = b"ATHENA.MIT.EDUraeburn".as_slice();
    let short = b"\x124Vx\x78\x56\x34\x12".as_slice();
    for (iterations, password, salt, aes128, aes256) in [
        (
            1,
            b"password".as_slice(),
            athena,
            "42263c6e89f4fc28b8df68ee09799f15",
            "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161",
        ),
        (2, b"password", athena, "c651bf29e2300ac27fa469d693bdda13", "a2e16d16b36069c135d5e9d2e25f896102685618b95914b467c67622225824ff"),
        (1200, b"password", athena, "4c01cd46d632d01e6dbe230a01ed642a", "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"),
        (5, b"password", short, "e9b23d52273747dd5c35cb55be619d8e", "97a4e786be20d81a382d5ebc96d5909cabcdadc87ca48f574504159f16c36e31"),
        (
            1200,
            equals.as_bytes(),
            b"pass phrase equals block size",
            "59d1bb789a828b1aa54ef9c2883f69ed",
            "89adee3608db8bc71f1bfbfe459486b05618b70cbae22092534e56c553ba4b34",
        ),
        (
            1200,
            exceeds.as_bytes(),
            b"pass phrase exceeds block size",
            "cb8005dc5f90179a7f02104c0018751d",
            "d78c5c9cb872a8c9dad4697f0bb5b2d21496c82beb2caeda2112fceea057401b",
        ),
        (
            50,
            "\u{1D11E}".as_bytes(),
            b"EXAMPLE.COMpianist",
            "f149c1f2e154a73452d43e7fe62a56e5",
            "4b6d9839f84406df1f09cc166db4b83c571848b784a3d6bdc346589a3e393f9e",
        ),
    ] {
        for (etype, expected) in [(Aes128, aes128), (Aes256, aes256)] {
            assert_eq!(Key::from_password(etype, password, salt, Some(iterations)).unwrap().bytes(), hex(expected));
        }
    }
}

#[test]
fn iteration_counts_have_a_default_and_bounds() {
    let of = |count| Key::from_password(Aes128, b"password", b"salt", count);
    assert_eq!(of(None), of(Some(4096)));
    assert_eq!(of(Some(0)), Err(CryptoError::Iterations(0)));
    assert_eq!(of(Some(u32::MAX)), Err(CryptoError::Iterations(u32::MAX)));
}

/// krb5's t_derive.c; its base keys are the first two of RFC 3962.
#[test]
fn dk_gives_the_keys_of_each_purpose() {
    for (etype, base, expected) in [
        (
            Aes128,
            "42263c6e89f4fc28b8df68ee09799f15",
            ["34280a382bc92769b2da2f9ef066854b", "5b14fc4e250e14ddf9dccf1af6674f53", "4ed31063621684f09ae8d89991af3e8f"],
        ),
        (
            Aes256,
            "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161",
            [
                "bfab388bdcb238e9f9c98d6a878304f04d30c82556375ac507a7a852790f4674",
                "c7cfd9cd75fe793a586a542d87e0d1396f1134a104bb1a9190b8c90ada3ddf37",
                "97151b4c76945063e2eb0529dc067d97d7bba90776d8126d91f34f3101aea8ba",
            ],
        ),
    ] {
        let schedule = OneWay::new(etype, &hex(base));
        for (purpose, expected) in [0x99, 0xaa, 0x55].into_iter().zip(expected) {
            assert_eq!(dk(etype, &schedule, &[0, 0, 0, 2, purpose])[..etype.key_length()], hex(expected));
        }
    }
}

/// krb5's t_decrypt.c.
#[test]
fn ciphertexts_made_elsewhere_are_read() {
    for (etype, octets, usage, cipher, plain) in [
        (Aes128, "5a5c0f0ba54f3828b2195e66ca24a289", 0, "49ff8e11c173d9583a3254fbe7b1f1df36c538e8416784a1672e6676", ""),
        (Aes128, "98450e3f3baa13f5c99beb936981b06f", 1, "f86742f537b35dc2174a4dbaa920faf9042090b065e1ebb1cad9a65394", "1"),
        (
            Aes128,
            "9062430c8cda3388922e6d6a509f5b7a",
            2,
            "68fb9679601f45c78857b2bf820fd6e53eca8d42fd4b1d7024a09205abb7cd2ec26c355d2f",
            "9 bytesss",
        ),
        (
            Aes128,
            "033ee6502c54fd23e27791e987983827",
            3,
            "ec366d0327a933bf49330e650e49bc6b974637fe80bf532fe51795b4809718e6194724db948d1fd637",
            "13 bytes byte",
        ),
        (
            Aes128,
            "dceeb70b3de76562e689226c76429148",
            4,
            "c96081032d5d8eeb7e32b4089f789d0faa481dea74c0f97cbf3146ddfcf8e800156ecb532fc203e30ff600b63b350939fece510f02d7ff1e7bac",
            "30 bytes bytes bytes bytes byt",
        ),
        (
            Aes256,
            "17f275f2954f2ed1f90c377ba7f4d6a369aa0136e0bf0c927ad6133c693759a9",
            0,
            "e5094c55ee7b38262e2b044280b069379a95bf95bd8376fb3281b435",
            "",
        ),
    ] {
        let key = key(etype, octets);
        assert_eq!(key.decrypt(usage, &hex(cipher)).unwrap().as_slice(), plain.as_bytes());
        assert_eq!(key.decrypt(usage + 1, &hex(cipher)), Err(CryptoError::Integrity { etype, usage: usage + 1 }));
    }
}

/// krb5's t_cksums.c.
#[test]
fn checksums_made_elsewhere_are_accepted() {
    for (etype, octets, usage, data, checksum) in [
        (Aes128, "9062430c8cda3388922e6d6a509f5b7a", 3, "eight nine ten eleven twelve thirteen", "01a4b088d45628f6946614e3"),
        (Aes256, "b1ae4cd8462aff1677053cc9279aac30b796fb81ce21474dd3ddbcfea4ec76d7", 4, "fourteen", "e08739e3279e2903ec8e3836"),
    ] {
        let key = key(etype, octets);
        assert_eq!(key.checksum(usage, data.as_bytes()), hex(checksum));
        key.verify_checksum(usage, data.as_bytes(), &hex(checksum)).unwrap();
        assert!(key.verify_checksum(usage, b"twelve", &hex(checksum)).is_err());
        assert!(key.verify_checksum(usage, data.as_bytes(), &hex(checksum)[1..]).is_err());
        assert!(key.verify_checksum(usage, data.as_bytes(), &[]).is_err());
    }
}

/// krb5's t_prf.c.
#[test]
fn the_prf_gives_the_values_of_krb5() {
    for (etype, octets, input, output) in [
        (Aes128, "ae272e7cdec86ac5138cdb196d8e297d", "0161", "77b39a37a868920f2a51f9dd150c5717"),
        (Aes128, "67ab1cfef35e4c27ffdeac60385a3e9c", "0162", "e06c0dd31ff02091994f2ef5178bfe3d"),
        (Aes256, "c01f157211f7b77eaaf457c3e156690127ee127d810ba6392e97baa243eb0616", "0161", "b2628c788e2e9c4a9bb4644678c29f2f"),
        (Aes256, "9d520d2d980aa7cb6b693682b62da258b333867951642ce647ae62b1e5e0b5e9", "0262", "0d674dd0f9a6806525a4d92e828bd15a"),
    ] {
        assert_eq!(key(etype, octets).prf(&hex(input)).as_slice(), hex(output));
    }
}

/// RFC 6113 appendix A, whose keys come from the passwords "key1" and "key2" salted with themselves; the RFC 8009 pair is krb5's t_cf2.
#[test]
fn combined_keys_are_those_of_rfc_6113() {
    for (etype, expected) in [
        (Aes128, "97df97e4b798b29eb31ed7280287a92a"),
        (Aes256, "4d6ca4e629785c1f01baf55e2e548566b9617ae3a96868c337cb93b5e72b1c7b"),
        (Etype::Aes128CtsHmacSha256_128, "edd02a39d2dbde31611c16e610be062c"),
        (Etype::Aes256CtsHmacSha384_192, "67f6ea530aea85a37dcbb23349ea52dcc61ca8493ff557252327fd8304341584"),
    ] {
        let of = |name: &[u8]| Key::from_password(etype, name, name, None).unwrap();
        assert_eq!(Key::combine(&of(b"key1"), &of(b"key2"), b"a", b"b").bytes(), hex(expected), "{etype}");
    }
}

#[test]
fn prf_plus_ends_where_its_counter_does() {
    let key = key(Aes128, "ae272e7cdec86ac5138cdb196d8e297d");
    assert_eq!(key.prf_plus(b"x", 255 * 16).unwrap().len(), 255 * 16);
    assert_eq!(key.prf_plus(b"x", 255 * 16 + 1), Err(CryptoError::PrfLength(255 * 16 + 1)));
    assert!(key.prf_plus(b"x", 0).unwrap().is_empty());
}
