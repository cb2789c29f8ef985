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

import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.util.Map;
import java.util.Properties;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;

/** Sends one message with Jakarta Mail, as Spring and most Java applications do. */
public class Mail {
	public static void main(String[] args) throws Exception {
		Map<String, String> env = System.getenv();
		KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
		roots.load(null, null);
		try (FileInputStream in = new FileInputStream(env.get("SMTP_CA"))) {
			roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
		}
		TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		trust.init(roots);
		SSLContext tls = SSLContext.getInstance("TLS");
		tls.init(null, trust.getTrustManagers(), null);

		Properties p = new Properties();
		p.put("mail.smtp.host", "localhost");
		p.put("mail.smtp.port", env.get("SMTP_PORT"));
		p.put("mail.smtp.auth", "true");
		p.put("mail.smtp.starttls.required", "true");
		p.put("mail.smtp.ssl.checkserveridentity", "true");
		p.put("mail.smtp.ssl.socketFactory", tls.getSocketFactory());
		// What applications switch on when a provider asks for it.
		p.put("mail.smtp.allow8bitmime", "true");
		Session session = Session.getInstance(p);
		MimeMessage m = new MimeMessage(session);
		m.setFrom(new InternetAddress(env.get("SMTP_FROM")));
		m.setRecipient(Message.RecipientType.TO, new InternetAddress(env.get("SMTP_TO")));
		m.setSubject(env.get("SMTP_SUBJECT"), "utf-8");
		m.setText(env.get("SMTP_TEXT"), "utf-8");
		Transport.send(m, env.get("SMTP_USER"), env.get("SMTP_PASSWORD"));
	}
}
