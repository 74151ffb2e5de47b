//! Values for encryption types 19 and 20: RFC 8009 appendix A.

use super::super::{CryptoError, Etype, Key};
use super::{hex, key};
use Etype::{Aes128CtsHmacSha256_128 as Aes128, Aes256CtsHmacSha384_192 as Aes256};

const KEY_128: &str = "3705d96080c17728a0e800eab6e0d23c";
const KEY_256: &str = "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52";

#[test]
fn passwords_give_the_keys_of_rfc_8009() {
    let salt = [hex("10df9dd783e5bc8acea1730e74355f61"), b"ATHENA.MIT.EDUraeburn".to_vec()].concat();
    for (etype, expected) in
        [(Aes128, "089bca48b105ea6ea77ca5d2f39dc5e7"), (Aes256, "45bd806dbf6a833a9cffc1c94589a222367a79bc21c413718906e9f578a78467")]
    {
        assert_eq!(Key::from_password(etype, b"password", &salt, None).unwrap().bytes(), hex(expected));
        assert_eq!(etype.default_iterations(), 32768);
    }
}

#[test]
fn ciphertexts_are_those_of_rfc_8009() {
    let plain = hex("000102030405060708090a0b0c0d0e0f1011121314");
    for (etype, octets, length, confounder, cipher) in [
        (Aes128, KEY_128, 0, "7e5895eaf2672435bad817f545a37148", "ef85fb890bb8472f4dab20394dca781dad877eda39d50c870c0d5a0a8e48c718"),
        (
            Aes128,
            KEY_128,
            6,
            "7bca285e2fd4130fb55b1a5c83bc5b24",
            "84d7f30754ed987bab0bf3506beb09cfb55402cef7e6877ce99e247e52d16ed4421dfdf8976c",
        ),
        (
            Aes128,
            KEY_128,
            16,
            "56ab21713ff62c0a1457200f6fa9948f",
            "3517d640f50ddc8ad3628722b3569d2ae07493fa8263254080ea65c1008e8fc295fb4852e7d83e1e7c48c37eebe6b0d3",
        ),
        (
            Aes128,
            KEY_128,
            21,
            "a7a4e29a4728ce10664fb64e49ad3fac",
            "720f73b18d9859cd6ccb4346115cd336c70f58edc0c4437c5573544c31c813bce1e6d072c186b39a413c2f92ca9b8334a287ffcbfc",
        ),
        (
            Aes256,
            KEY_256,
            0,
            "f764e9fa15c276478b2c7d0c4e5f58e4",
            "41f53fa5bfe7026d91faf9be959195a058707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c",
        ),
        (
            Aes256,
            KEY_256,
            6,
            "b80d3251c1f6471494256ffe712d0b9a",
            "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
        ),
        (
            Aes256,
            KEY_256,
            16,
            "53bf8a0d105265d4e276428624ce5e63",
            "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f68cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
        ),
        (
            Aes256,
            KEY_256,
            21,
            "763e65367e864f02f55153c7e3b58af1",
            "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
        ),
    ] {
        let key = key(etype, octets);
        assert_eq!(key.encrypt_after(2, hex(confounder).try_into().unwrap(), &plain[..length]), hex(cipher));
        assert_eq!(key.decrypt(2, &hex(cipher)).unwrap().as_slice(), &plain[..length]);
        assert_eq!(key.decrypt(3, &hex(cipher)), Err(CryptoError::Integrity { etype, usage: 3 }));
    }
}

#[test]
fn checksums_are_those_of_rfc_8009() {
    let data = hex("000102030405060708090a0b0c0d0e0f1011121314");
    for (etype, octets, checksum) in
        [(Aes128, KEY_128, "d78367186643d67b411cba9139fc1dee"), (Aes256, KEY_256, "45ee791567eefca37f4ac1e0222de80d43c3bfa06699672a")]
    {
        assert_eq!(key(etype, octets).checksum(2, &data), hex(checksum));
    }
}

#[test]
fn the_prf_is_that_of_rfc_8009() {
    for (etype, octets, output) in [
        (Aes128, KEY_128, "9d188616f63852fe86915bb840b4a886ff3e6bb0f819b49b893393d393854295"),
        (Aes256, KEY_256, "9801f69a368c2bf675e59521e177d9a07f67efe1cfde8d3c8d6f6a0256e3b17db3c1b62ad1b8553360d17367eb1514d2"),
    ] {
        assert_eq!(key(etype, octets).prf(b"test").as_slice(), hex(output));
    }
}
