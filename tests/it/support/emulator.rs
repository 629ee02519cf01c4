//! AWS emulators out of Python's package index, as child processes: they know nothing of us.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use aws_config::{Region, SdkConfig};
use aws_sdk_cloudfront::types::{
    CustomOriginConfig, DefaultCacheBehavior, DistributionConfig, Origin, OriginProtocolPolicy, Origins,
    ViewerProtocolPolicy,
};
use aws_sdk_ssm::types::ParameterType;
use greenlight::sandbox::dev::sdk_config;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    REGION,
    process::{Api, Process, Replica, Site, eventually},
};

/// A running emulator. It lives until this process ends.
pub struct Emulator {
    _process: Process,
    pub endpoint_url: String,
}

/// What to start, and how to see that it is there.
pub struct Program {
    /// The Python module.
    pub module: &'static str,
    pub arguments: &'static [&'static str],
    pub environment: &'static [(&'static str, &'static str)],
    /// Answers with 200 when it is ready.
    pub health: &'static str,
}

impl Emulator {
    /// Starts it on a port of its own choice, and waits until it answers.
    pub async fn start(program: Program) -> Self {
        let python = env::var_os("GREENLIGHT_TEST_PYTHON").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
            PathBuf::from,
        );
        let missing = |why: &str| {
            format!(
                "this test needs {module}: run `scripts/setup.sh test` (tried {} -m {module}: {why})",
                python.display(),
                module = program.module
            )
        };
        let mut command = Command::new(&python);
        command.args(["-m", program.module]).args(program.arguments);
        command.envs(program.environment.iter().copied());
        for variable in ["PYTHONPATH", "PYTHONHOME", "MOTO_PORT"] {
            command.env_remove(variable);
        }
        let mut process = start_for_good(command)
            .await
            .unwrap_or_else(|error| panic!("{}", missing(&error.to_string())));
        let endpoint_url = eventually("the emulator says where it listens", async || {
            let said = process.said().join("\n");
            assert_eq!(process.status(), None, "{}", missing(&said));
            let (_, rest) = said.split_once("Running on ")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .await;
        let api = Api::new(endpoint_url.strip_prefix("http://").unwrap().parse().unwrap(), None);
        eventually("the emulator answers", async || {
            api.try_get(program.health)
                .await
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        })
        .await;
        Self {
            _process: process,
            endpoint_url,
        }
    }

    pub fn sdk(&self, region: &'static str) -> SdkConfig {
        sdk_config(&self.endpoint_url)
            .into_builder()
            .region(Region::from_static(region))
            .build()
    }

    pub fn ssm(&self, region: &'static str) -> aws_sdk_ssm::Client {
        aws_sdk_ssm::Client::new(&self.sdk(region))
    }

    pub fn cloudfront(&self) -> aws_sdk_cloudfront::Client {
        aws_sdk_cloudfront::Client::new(&self.sdk(REGION))
    }

    /// What a parameter says.
    pub async fn pointer_in(&self, region: &'static str, parameter: &str) -> Option<String> {
        value_of(&self.ssm(region), parameter).await
    }

    pub async fn put_parameter(&self, region: &'static str, parameter: &str, value: &str) {
        let put = self
            .ssm(region)
            .put_parameter()
            .name(parameter)
            .value(value)
            .overwrite(true);
        put.r#type(ParameterType::String).send().await.unwrap();
    }

    /// Makes a distribution. Returns its id.
    pub async fn distribution(&self) -> String {
        let origin = Origin::builder()
            .id("origin")
            .domain_name("origin.example.com")
            .custom_origin_config(
                CustomOriginConfig::builder()
                    .http_port(80)
                    .https_port(443)
                    .origin_protocol_policy(OriginProtocolPolicy::HttpsOnly)
                    .build()
                    .unwrap(),
            )
            .build()
            .unwrap();
        let behavior = DefaultCacheBehavior::builder()
            .target_origin_id("origin")
            .viewer_protocol_policy(ViewerProtocolPolicy::RedirectToHttps)
            .build()
            .unwrap();
        let config = DistributionConfig::builder()
            .caller_reference(Uuid::now_v7().to_string())
            .comment("")
            .enabled(true)
            .origins(Origins::builder().quantity(1).items(origin).build().unwrap())
            .default_cache_behavior(behavior)
            .build()
            .unwrap();
        let made = self
            .cloudfront()
            .create_distribution()
            .distribution_config(config)
            .send()
            .await
            .unwrap();
        made.distribution.unwrap().id
    }

    /// The invalidations of a distribution.
    pub async fn invalidations(&self, distribution: &str) -> usize {
        let listed = self
            .cloudfront()
            .list_invalidations()
            .distribution_id(distribution)
            .send()
            .await
            .unwrap();
        listed.invalidation_list.unwrap().items().len()
    }

    /// A replica that works on it.
    pub async fn replica(&self) -> (Replica, Api) {
        let site = Site::new(&self.endpoint_url).await;
        let replica = site.replica().await;
        let api = site.api(&replica);
        (replica, api)
    }
}

/// What a parameter says to this client.
pub async fn value_of(ssm: &aws_sdk_ssm::Client, parameter: &str) -> Option<String> {
    match ssm.get_parameter().name(parameter).send().await {
        Ok(answer) => answer.parameter.unwrap().value,
        Err(error) => {
            let error = error.into_service_error();
            assert!(error.is_parameter_not_found(), "{error:?}");
            None
        }
    }
}

/// Starts the program from a thread that never ends: the kernel kills it when the thread that started it has.
async fn start_for_good(mut command: Command) -> std::io::Result<Process> {
    let (started, process) = oneshot::channel();
    thread::spawn(move || {
        let _ = started.send(Process::try_start(&mut command));
        loop {
            thread::park();
        }
    });
    process.await.unwrap()
}
