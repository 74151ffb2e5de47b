//! The values of RFC 9588 appendix B, for the groups and encryption types we have.

use super::super::spake_group::{SpakeGroup, SpakeRole, SpakeSecret, SpakeShare, SpakeTranscript, spake_key};
use super::super::{CryptoError, Etype, Key};
use super::hex;
use crate::entropy::SystemEntropy;

struct Values {
    etype: Etype,
    group: SpakeGroup,
    key: &'static str,
    x: &'static str,
    y: &'static str,
    t: &'static str,
    s: &'static str,
    k: &'static str,
    support: &'static str,
    challenge: &'static str,
    transcript: &'static str,
    body: &'static str,
    keys: [&'static str; 4],
}

const VALUES: [Values; 4] = [
    Values {
        etype: Etype::Aes128CtsHmacSha1_96,
        group: SpakeGroup::Edwards25519,
        key: "fca822951813fb252154c883f5ee1cf4",
        x: "50be049a5a570fa1459fb9f666e6fd80602e4e87790a0e567f12438a2c96c138",
        y: "b877afe8612b406d96be85bd9f19d423e95be96c0e1e0b5824127195c3ed5917",
        t: "9e9311d985c1355e022d7c3c694ad8d6f7ad6d647b68a90b0fe46992818002da",
        s: "fbe08f7f96cd5d4139e7c9eccb95e79b8ace41e270a60198c007df18525b628e",
        k: "c2f7f99997c585e6b686ceb62db42f17cc70932def3bb4cf009e36f22ea5473d",
        support: "a0093007a0053003020101",
        challenge: "a1363034a003020101a12204209e9311d985c1355e022d7c3c694ad8d6f7ad6d647b68a90b0fe46992818002daa20930\
            073005a003020101",
        transcript: "951285f107c87f0169b9c918a1f51f60cb1a75b9f8bb799a99f53d03add94b5f",
        body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e\
            454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730\
            303130313030303030305aa703020100a8053003020111",
        keys: [
            "548022d58a7c47eae8c49dccf6baa407",
            "b2c9ba0e13fc8ab3a9d96b51b601cf4a",
            "69f0ee5fdb6c237e7fcd38d9f87df1bd",
            "78f91e2240b5ee528a5cc8d7cbebfba5",
        ],
    },
    Values {
        etype: Etype::Aes256CtsHmacSha1_96,
        group: SpakeGroup::Edwards25519,
        key: "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
        x: "88c6c0a4f0241ef217c9788f02c32d00b72e4310748cd8fb5f94717607e6417d",
        y: "88b859df58ef5c69bacdfe681c582754eaab09a74dc29cff50b328613c232f55",
        t: "6f301aacae1220e91be42868c163c5009aeea1e9d9e28afcfc339cda5e7105b5",
        s: "9e2cc32908fc46273279ec75354b4aeafa70c3d99a4d507175ed70d80b255dda",
        k: "cf57f58f6e60169d2ecc8f20bb923a8e4c16e5bc95b9e64b5dc870da7026321b",
        support: "a0093007a0053003020101",
        challenge: "a1363034a003020101a12204206f301aacae1220e91be42868c163c5009aeea1e9d9e28afcfc339cda5e7105b5a20930\
            073005a003020101",
        transcript: "1c605649d4658b58cbe79a5faf227acc16c355c58b7dade022f90c158fe5ed8e",
        body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e\
            454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730\
            303130313030303030305aa703020100a8053003020112",
        keys: [
            "a9bfa71c95c575756f922871524b65288b3f695573ccc0633e87449568210c23",
            "1865a9ee1ef0640ec28ac007391cac624c42639c714767a974e99aa10003015f",
            "e57781513fefdb978e374e156b0da0c1a08148f5eb26b8e157ac3c077e28bf49",
            "008e6487293c3cc9fabbbcdd8b392d6dcb88222317fd7fe52d12fbc44fa047f1",
        ],
    },
    Values {
        etype: Etype::Aes256CtsHmacSha1_96,
        group: SpakeGroup::P256,
        key: "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
        x: "935ddd725129fb7c6288e1a5cc45782198a6416d1775336d71eacd0549a3e80e",
        y: "e07405eb215663abc1f254b8adc0da7a16febaa011af923d79fdef7c42930b33",
        t: "024f62078ceb53840d02612195494d0d0d88de21feeb81187c71cbf3d01e71788d",
        s: "021d07dc31266fc7cfd904ce2632111a169b7ec730e5f74a7e79700f86638e13c8",
        k: "0268489d7a9983f2fde69c6e6a1307e9d252259264f5f2dfc32f58cca19671e79b",
        support: "a0093007a0053003020102",
        challenge: "a1373035a003020102a1230421024f62078ceb53840d02612195494d0d0d88de21feeb81187c71cbf3d01e71788da209\
            30073005a003020101",
        transcript: "20ad3c1a9a90fc037d1963a1c4bfb15ab4484d7b6cf07b12d24984f14652de60",
        body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e\
            454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730\
            303130313030303030305aa703020100a8053003020112",
        keys: [
            "7d3b906f7be49932db22cd3463f032d06c9c078be4b1d076d201fc6e61ef531e",
            "17d74e36f8993841fbb7feb12fa4f011243d3ae4d2ace55b39379294bbc4db2c",
            "d192c9044081a2aa6a97a6c69e2724e8e5671c2c9ce073dd439cdbaf96d7dab0",
            "41e5bad6b67f12c53ce0e2720dd6a9887f877bf9463c2d5209c74c36f8d776b7",
        ],
    },
    Values {
        etype: Etype::Aes256CtsHmacSha1_96,
        group: SpakeGroup::Edwards25519,
        key: "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
        x: "70937207344cafbc53c8a55070e399c584cbafce00b836980dd4e7e74fad2a64",
        y: "785d6801a2490df028903ac6449b105f2ff0db895b252953cdc2076649526103",
        t: "83523b35f1565006cbfc4f159885467c2fb9bc6fe23d36cb1da43d199f1a3118",
        s: "2a8f70f46cee9030700037b77f22cec7970dcc238e3e066d9d726baf183992c6",
        k: "d3c5e4266aa6d1b2873a97ce8af91c7e4d7a7ac456acced7908d34c561ad8fa6",
        support: "",
        challenge: "a1363034a003020101a122042083523b35f1565006cbfc4f159885467c2fb9bc6fe23d36cb1da43d199f1a3118a20930\
            073005a003020101",
        transcript: "26f07f9f8965307434d11ea855461d41e0cbabcc0a1bab48ecee0c6c1a4292b7",
        body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e\
            454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730\
            303130313030303030305aa703020100a8053003020112",
        keys: [
            "4569ec08b5de5c3cc19d941725913ace8d74524b521a341dc746acd5c3784d92",
            "0d96ce1a4ac0f2e280a0cfc31742b06461d83d04ae45433db2d80478dd882a4c",
            "58018c19315a1ba5d5bb9813b58029f0aec18a6f9ca59e0847de1c60bc25945c",
            "ed7e9bffd68c54d86fb19cd3c03f317f88a71ad9a5e94c28581d93fc4ec72b6a",
        ],
    },
];

/// The RFC's private numbers are multiples of the cofactor, 8; ours leave it out.
fn scalar(group: SpakeGroup, text: &str) -> [u8; 32] {
    let octets: [u8; 32] = hex(text).try_into().unwrap();
    match group {
        SpakeGroup::P256 => octets,
        SpakeGroup::Edwards25519 => {
            assert_eq!(octets[0] % 8, 0);
            std::array::from_fn(|place| octets[place] >> 3 | octets.get(place + 1).unwrap_or(&0) << 5)
        }
    }
}

#[test]
fn elements_and_keys_are_those_of_rfc_9588() {
    for values in &VALUES {
        let group = values.group;
        let key = Key::new(values.etype, &hex(values.key)).unwrap();
        let secret = SpakeSecret::new(group, &key);
        let kdc = SpakeShare::from_scalar(&secret, SpakeRole::Kdc, &scalar(group, values.x)).unwrap();
        let client = SpakeShare::from_scalar(&secret, SpakeRole::Client, &scalar(group, values.y)).unwrap();
        assert_eq!(kdc.public(), hex(values.t));
        assert_eq!(client.public(), hex(values.s));
        let shared = kdc.agree(&secret, client.public()).unwrap();
        assert_eq!(shared.as_slice(), hex(values.k));
        assert_eq!(client.agree(&secret, kdc.public()).unwrap(), shared);
        let mut transcript = SpakeTranscript::default();
        transcript.update(&[&hex(values.support), &hex(values.challenge)]);
        let mut transcript = SpakeTranscript::from_value(*transcript.value());
        transcript.update(&[client.public()]);
        assert_eq!(transcript.value().as_slice(), hex(values.transcript));
        for (n, expected) in (0..).zip(values.keys) {
            assert_eq!(spake_key(&key, &secret, &shared, &transcript, &hex(values.body), n).bytes(), hex(expected));
        }
    }
}

#[test]
fn a_wrong_password_gives_another_secret_and_garbage_none() {
    for group in SpakeGroup::ALL {
        let etype = Etype::Aes256CtsHmacSha384_192;
        let (right, wrong) = (Key::random(etype, &mut SystemEntropy), Key::random(etype, &mut SystemEntropy));
        let (right, wrong) = (SpakeSecret::new(group, &right), SpakeSecret::new(group, &wrong));
        let kdc = SpakeShare::generate(&right, SpakeRole::Kdc, &mut SystemEntropy);
        let client = SpakeShare::generate(&right, SpakeRole::Client, &mut SystemEntropy);
        let guesser = SpakeShare::generate(&wrong, SpakeRole::Client, &mut SystemEntropy);
        assert_eq!(kdc.agree(&right, client.public()).unwrap(), client.agree(&right, kdc.public()).unwrap());
        assert_ne!(kdc.agree(&right, guesser.public()).unwrap(), guesser.agree(&wrong, kdc.public()).unwrap());
        let again = SpakeShare::from_scalar(&right, SpakeRole::Kdc, kdc.scalar()).unwrap();
        assert_eq!(again.public(), kdc.public());
        for bad in [&[][..], &[2; 32], &[0xff; 33], &[0], &client.public()[1..]] {
            assert_eq!(kdc.agree(&right, bad), Err(CryptoError::SpakeElement(group)), "{group:?} {bad:02x?}");
        }
        assert_eq!(SpakeGroup::from_number(group.number()), Some(group));
    }
    assert_eq!(SpakeGroup::from_number(3), None);
    let secret = SpakeSecret::new(SpakeGroup::P256, &Key::random(Etype::Aes128CtsHmacSha1_96, &mut SystemEntropy));
    assert!(SpakeShare::from_scalar(&secret, SpakeRole::Kdc, &[0; 32]).is_none());
    assert!(SpakeShare::from_scalar(&secret, SpakeRole::Kdc, &[0xff; 32]).is_none());
}
