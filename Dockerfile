# A node with the server programs of its private PostgreSQL; DATABASE_URL makes it use another.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
ENV SQLX_OFFLINE=true
RUN cargo build --profile dist --locked -p node --features jemalloc \
    && objcopy --only-keep-debug target/dist/nexmdm /nexmdm.debug \
    && objcopy --strip-all --add-gnu-debuglink=/nexmdm.debug target/dist/nexmdm /nexmdm

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /data --create-home nexmdm
COPY --from=build /nexmdm /nexmdm.debug /usr/local/bin/
USER nexmdm
VOLUME /data
ENV NEXMDM__DATA_DIR=/data NEXMDM__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK CMD ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q 200"]
# tini reaps what a killed PostgreSQL leaves behind.
ENTRYPOINT ["tini", "--", "nexmdm"]
CMD ["serve"]
