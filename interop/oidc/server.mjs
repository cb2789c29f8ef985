// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.


// oidc-provider as an authorization server: code with PKCE, device flow,
// client credentials, private_key_jwt, discovery, and refresh tokens that
// rotate, where a second use of one ends its whole grant.
//
// The first argument is a JSON object: `port` and `clients` (client metadata).
// Whoever logs in at its development pages is who he says he is.

import Provider from "oidc-provider";

const { port, clients } = JSON.parse(process.argv[2]);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  scopes: ["openid", "email", "offline_access", "smtp"],
  claims: { email: ["email"] },
  // The address is in the ID token, as with Google and Microsoft, not only at
  // the userinfo endpoint.
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: id }) }),
  clientAuthMethods: ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
  ttl: { AccessToken: 3600, ClientCredentials: 3600, RefreshToken: 86400, Grant: 86400, Session: 3600, Interaction: 600, DeviceCode: 600 },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
  },
});

// What a mail server would ask of a token endpoint's operator.
const count = {};
for (const event of ["grant.success", "grant.error", "grant.revoked", "server_error"]) {
  provider.on(event, (ctx, err) => {
    const name = `${event} ${ctx?.oidc?.params?.grant_type ?? ""}`.trim();
    count[name] = (count[name] ?? 0) + 1;
    if (err) console.log(event, err.error_description ?? err.message, err.error_detail ?? "");
  });
}
provider.use(async (ctx, next) => {
  if (ctx.path === "/count") ctx.body = count;
  else await next();
});

const server = provider.listen(port, "127.0.0.1", () => console.log("listening"));
process.on("SIGTERM", () => {
  server.closeAllConnections();
  server.close(() => process.exit(0));
});
